"""The same augmentation from Kornia's stock modules: the baseline of benchmarks and the oracle of tests.

Selected by `augment.engine: kornia`. Where Kornia cannot do the same it does the nearest: MixUp or CutMix is chosen
for a batch, not for a sample, and so is whether to mix at all.
"""

from __future__ import annotations

import kornia.augmentation as K
import torch
from kornia.morphology import dilation
from torch import Tensor

from fastsketch.augment.mix import Targets
from fastsketch.augment.params import AugmentParams
from fastsketch.augment.pipeline import SketchAugment
from fastsketch.config import AugmentConfig
from fastsketch.ink import to_ink
from fastsketch.preprocess import Preprocess


class KorniaAugment(SketchAugment):
    """`SketchAugment` out of `kornia.augmentation` and `kornia.morphology`, used as their documentation shows.

    Kornia draws its parameters itself, from torch's global generator, and waits for the host while it does.
    """

    def __init__(self, config: AugmentConfig, preprocess: Preprocess) -> None:
        super().__init__(config, preprocess)
        self.geometry = K.AugmentationSequential(
            K.RandomHorizontalFlip(p=config.flip),
            K.RandomAffine(
                degrees=config.rotation,
                translate=(config.translation, config.translation),
                scale=config.scale,
                shear=(-config.shear, config.shear, -config.shear, config.shear),
                align_corners=True,
                p=1.0,
            ),
            data_keys=["input"],
        )
        keys = ["input", "class"]
        self.mixup = K.RandomMixUpV2(p=config.mix_probability, data_keys=keys)
        self.cutmix = K.RandomCutMixV2(
            p=config.mix_probability, beta=config.cutmix or 1.0, data_keys=keys, use_correct_lambda=True
        )

    def sample_params(self, batch_size: int, generator: torch.Generator) -> AugmentParams:
        """Nothing: Kornia draws when it is applied."""
        return AugmentParams(torch.empty(0, device=generator.device))

    def augment(self, images: Tensor, labels: Tensor, params: AugmentParams) -> tuple[Tensor, Targets]:
        """As in `SketchAugment`; `params` is not used."""
        ink = self._thicken(self.geometry(to_ink(images)))
        ink, targets = self._mix(ink, labels) if self.config.mixes else (ink, Targets.plain(labels))
        return 1 - ink, targets

    def _thicken(self, ink: Tensor) -> Tensor:
        """Dilation takes one element for all: one call for every size, on the samples that drew it."""
        config, smallest, largest = self.config, *self.config.thickness_range
        if not config.thickness:
            return ink
        sides = torch.randint(smallest, largest + 1, (len(ink),), device=ink.device)
        sides = torch.where(torch.rand(len(ink), device=ink.device) < config.thickness, sides, 1)
        for side in range(max(smallest, 2), largest + 1):
            chosen = sides == side
            if chosen.any():
                ink[chosen] = dilation(ink[chosen], torch.ones(side, side, device=ink.device))
        return ink

    def _mix(self, ink: Tensor, labels: Tensor) -> tuple[Tensor, Targets]:
        both = self.config.mixup > 0 and self.config.cutmix > 0
        cuts = bool(torch.rand(()) < self.config.cutmix_share) if both else self.config.cutmix > 0
        ink, mixed = (self.cutmix if cuts else self.mixup)(ink, labels)
        own, partners, lam = (mixed[0] if cuts else mixed).unbind(dim=1)
        # Kornia's MixUp returns the partner's share, its corrected CutMix the image's own.
        return ink, Targets(own.long(), partners.long(), lam if cuts else 1 - lam)
