"""From a stored image to what a model is shown. Training ends with this, and all else consists of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastsketch.ink import to_ink

HALF = 0.5 + 1 / 1024
"""Added before rounding down. What lies half-way between two gray values, as much does where one size divides the
other, is rounded up on every device and in every runtime, whichever way the last digit of the sum fell."""


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What a model's input is, and how it comes about: shrink, scale to [0, 1], normalise.

    It belongs to a saved model as its weights do. Validation, evaluation and whatever else asks a model use this one,
    so that all of them show it the same.

    Attributes:
        size: Side of the input in pixels.
        mean: Subtracted from the gray values in [0, 1], where paper is 1.
        std: Divides what is left.
    """

    size: int
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [B, 1, S, S], S ≥ size, paper = 255 → float32 [B, 1, size, size], normalised."""
        with torch.autocast(images.device.type, enabled=False):
            return self.normalise(1 - to_ink(shrink(images, self.size)))

    def normalise(self, gray: Tensor) -> Tensor:
        """Gray values in [0, 1], paper = 1 → a model's input; of any shape."""
        return gray if (self.mean, self.std) == (0, 1) else (gray - self.mean) / self.std

    def ink(self, inputs: Tensor) -> Tensor:
        """The way back: a model's input → ink, float32 in [0, 1], whatever precision the input is in."""
        return ((1 - self.mean) / self.std - inputs.float()) / (1 / self.std)


def shrink(images: Tensor, size: int) -> Tensor:
    """uint8 [B, 1, S, S] → uint8 [B, 1, size, size], size ≤ S, bilinear and anti-aliased.

    To the gray level what `convert` makes of the same images at that size with its default filter, give or take one
    for rounding: training at a smaller size is training on the smaller data set.
    """
    if images.shape[-1] == size:
        return images
    # In float32, because CUDA has no such kernel for uint8.
    smaller = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return smaller.add_(HALF).floor_().to(torch.uint8)
