"""`SketchAugment`: in training, the one module between the loader's uint8 and the model's input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastsketch.augment.apply import apply_params
from fastsketch.augment.mix import Targets, beta_quantiles, mix_labels
from fastsketch.augment.params import AugmentParams, sample_params
from fastsketch.config import AugmentConfig
from fastsketch.preprocess import Preprocess, shrink


class SketchAugment(nn.Module):
    """uint8 batch → model-ready batch and its targets, all on the device and without waiting for the host.

    Inside, images are *ink* in [0, 1] (ink = 1, paper = 0), so that zero padding is paper and thickening is a plain
    dilation. The random parameters are drawn apart from their use (`sample_params`), so that `forward` is a pure
    function of static shapes: the same parameters give the same batch, in eager mode and compiled. The order is
    geometry, thickness, erasing, mixing, normalisation. `sample_params` can be compiled as well, whose hundred small
    kernels are a tenth of the time on a CPU; its matrices then differ in their last bits.

    `images, targets = augment(batch.images, batch.labels, augment.sample_params(batch_size, generator))`

    Training only: what is not augmented goes through `Preprocess` alone.

    Args:
        config: Ranges and probabilities.
        preprocess: The model's, at the size that is trained at: to that size the loader's images are shrunk before all
            else, so that `thickness_range` is in pixels of it.
    """

    mixup_quantiles: Tensor
    cutmix_quantiles: Tensor

    def __init__(self, config: AugmentConfig, preprocess: Preprocess) -> None:
        super().__init__()
        self.config = config
        self.preprocess = preprocess
        for name, alpha in (("mixup_quantiles", config.mixup), ("cutmix_quantiles", config.cutmix)):
            self.register_buffer(name, beta_quantiles(alpha or 1.0), persistent=False)

    def sample_params(self, batch_size: int, generator: torch.Generator) -> AugmentParams:
        """The random parameters of one batch, on the generator's device, where the module must be, too."""
        # Coordinates in half precision would be off by pixels, here as in `forward`.
        with torch.autocast(generator.device.type, enabled=False):
            quantiles = (self.mixup_quantiles, self.cutmix_quantiles)
            return sample_params(self.config, self.preprocess.size, batch_size, generator, quantiles)

    def forward(self, images: Tensor, labels: Tensor, params: AugmentParams) -> tuple[Tensor, Targets]:
        """Shrink, augment and normalise.

        Args:
            images: uint8 [B, 1, S, S], S ≥ size, paper = 255.
            labels: int64 [B].
            params: What `sample_params` returned.

        Returns:
            float32 [B, 1, size, size], paper polarity, normalised; and the targets.
        """
        with torch.autocast(images.device.type, enabled=False):
            gray, targets = self.augment(shrink(images, self.preprocess.size), labels, params)
            return self.preprocess.normalise(gray), targets

    def augment(self, images: Tensor, labels: Tensor, params: AugmentParams) -> tuple[Tensor, Targets]:
        """Everything random: uint8 [B, 1, size, size] → float32 of that shape in [0, 1], paper = 1; targets."""
        gray = apply_params(images, params, largest=self.config.thickness_range[1])
        return gray, Targets.plain(labels) if params.mix is None else mix_labels(labels, params.mix)
