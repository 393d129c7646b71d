"""`SketchAugment`: the one module between the loader's uint8 and the model's input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastsketch.augment.geometry import UNIFORMS, affine_matrices, warp
from fastsketch.config import AugmentConfig


class SketchAugment(nn.Module):
    """uint8 batch → model-ready batch, all on the device and without waiting for the host.

    Inside, images are *ink* in [0, 1] (ink = 1, paper = 0), so that zero padding is paper. The random numbers are
    drawn apart from their use (`draw`), so that `forward` is a pure function: the same numbers give the same batch, in
    eager mode and compiled. In evaluation mode (`.eval()`) only the normalisation is left.

    Args:
        config: Ranges and probabilities.
        size: Side of the images in pixels.
        mean: Subtracted from the gray values in [0, 1] (paper = 1).
        std: Divides what is left.
    """

    def __init__(self, config: AugmentConfig, size: int, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.config = config
        self.size = size
        self.mean = mean
        self.std = std

    def draw(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The random numbers for one batch: float32 [batch_size, P] on the generator's device, uniform in [0, 1)."""
        return torch.rand(batch_size, UNIFORMS, generator=generator, device=generator.device)

    def forward(self, images: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Augment (in training mode) and normalise.

        Args:
            images: uint8 [B, 1, S, S], paper = 255.
            uniforms: What `draw` returned; needed in training mode only.

        Returns:
            float32 [B, 1, S, S], paper polarity, normalised.
        """
        ink = 1 - images.float() / 255
        if self.training:
            assert uniforms is not None, "training mode needs the numbers from draw()"
            ink = warp(ink, affine_matrices(uniforms, self.config, self.size))
        return ((1 - ink) - self.mean) / self.std
