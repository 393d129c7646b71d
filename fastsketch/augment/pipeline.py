"""`SketchAugment`: the one module between the loader's uint8 and the model's input."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor, nn

from fastsketch.augment.draws import Draws, draw
from fastsketch.augment.mix import Targets, beta_quantiles, mix_labels
from fastsketch.augment.redraw import redraw, to_ink
from fastsketch.augment.resize import shrink
from fastsketch.config import AugmentConfig


class SketchAugment(nn.Module):
    """uint8 batch → model-ready batch and its targets, all on the device and without waiting for the host.

    Inside, images are *ink* in [0, 1] (ink = 1, paper = 0), so that zero padding is paper and thickening is a plain
    dilation. The random parameters are drawn apart from their use (`draw`), so that `forward` is a pure function of
    static shapes: the same draws give the same batch, in eager mode and compiled. The order is geometry, thickness,
    erasing, mixing, normalisation. `draw` can be compiled as well, whose hundred small kernels are a tenth of the time
    on a CPU; its matrices then differ in their last bits.

    Training:   `images, targets = augment(batch.images, batch.labels, augment.draw(batch_size, generator))`
    Evaluation: `images = augment.eval()(batch.images)`, where only the normalisation is left.

    Args:
        config: Ranges and probabilities.
        size: Side in pixels of what comes out: that of the loader's images or a smaller one, to which they are shrunk
            before all else, so that `thickness_range` is in pixels of this size. The attribute may be changed between
            batches (progressive resizing); `draw` and `forward` follow.
        mean: Subtracted from the gray values in [0, 1] (paper = 1).
        std: Divides what is left.
    """

    mixup_quantiles: Tensor
    cutmix_quantiles: Tensor

    def __init__(self, config: AugmentConfig, size: int, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.mean = mean
        self.std = std
        for name, alpha in (("mixup_quantiles", config.mixup), ("cutmix_quantiles", config.cutmix)):
            self.register_buffer(name, beta_quantiles(alpha or 1.0), persistent=False)

    def draw(self, batch_size: int, generator: torch.Generator) -> Draws:
        """The random parameters of one batch, on the generator's device, where the module must be, too."""
        # Coordinates in half precision would be off by pixels, here as in `forward`.
        with torch.autocast(generator.device.type, enabled=False):
            return draw(self.config, self.size, batch_size, generator, (self.mixup_quantiles, self.cutmix_quantiles))

    @overload
    def forward(self, images: Tensor) -> Tensor: ...

    @overload
    def forward(self, images: Tensor, labels: Tensor, draws: Draws | None = None) -> tuple[Tensor, Targets]: ...

    def forward(
        self, images: Tensor, labels: Tensor | None = None, draws: Draws | None = None
    ) -> Tensor | tuple[Tensor, Targets]:
        """Augment (in training mode) and normalise.

        Args:
            images: uint8 [B, 1, S, S], S ≥ size, paper = 255.
            labels: int64 [B]; may be left out in evaluation mode.
            draws: What `draw` returned; needed in training mode only.

        Returns:
            float32 [B, 1, size, size], paper polarity, normalised; with the targets if labels were given.
        """
        with torch.autocast(images.device.type, enabled=False):
            images = shrink(images, self.size)
            if not self.training:
                normalised = self._normalise(1 - to_ink(images))
                return normalised if labels is None else (normalised, Targets.plain(labels))
            if labels is None or draws is None:
                raise TypeError("in training mode SketchAugment needs the labels and what draw() returned")
            gray, targets = self.augment(images, labels, draws)
            return self._normalise(gray), targets

    def augment(self, images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Targets]:
        """Everything random: images as in `forward` → float32 [B, 1, S, S] in [0, 1], paper = 1, and the targets."""
        gray = redraw(images, draws, largest=self.config.thickness_range[1])
        return gray, Targets.plain(labels) if draws.mix is None else mix_labels(labels, draws.mix)

    def _normalise(self, gray: Tensor) -> Tensor:
        return gray if (self.mean, self.std) == (0, 1) else (gray - self.mean) / self.std
