"""Smaller images, for progressive resizing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def shrink(images: Tensor, size: int) -> Tensor:
    """uint8 [B, 1, S, S] → uint8 [B, 1, size, size], size ≤ S, bilinear and anti-aliased.

    To the gray level what `convert` makes of the same images at that size with its default filter, give or take one
    for rounding: training at a smaller size is training on the smaller data set.
    """
    if images.shape[-1] == size:
        return images
    # In float32, because CUDA has no such kernel for uint8.
    smaller = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return smaller.round_().to(torch.uint8)
