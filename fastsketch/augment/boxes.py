"""Rectangles: where CutMix pastes and random erasing erases."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ERASING_UNIFORMS = 5
"""Random numbers of one erased rectangle: whether, area, aspect ratio, x and y."""

ERASING_RATIO = 1 / 0.3
"""Largest aspect ratio of an erased rectangle, either way (Zhong et al., 2020, section 4.2)."""


def inside(boxes: Tensor, size: int) -> Tensor:
    """Which pixels lie in the boxes.

    Args:
        boxes: int [B, 4]: left, top, right, bottom in pixels; right and bottom are the first outside.
        size: Side of the images.

    Returns:
        bool [B, 1, size, size].
    """
    pixels = torch.arange(size, device=boxes.device)
    left, top, right, bottom = boxes.view(-1, 4, 1).unbind(dim=1)
    columns = (pixels >= left) & (pixels < right)
    rows = (pixels >= top) & (pixels < bottom)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def area(boxes: Tensor) -> Tensor:
    """Pixels in each box: int [B]."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def erasing_boxes(uniforms: Tensor, probability: float, shares: tuple[float, float], size: int) -> Tensor:
    """Random numbers → the rectangles to erase (Zhong et al., Random Erasing Data Augmentation, 2020), or empty ones.

    Args:
        uniforms: float [B, ERASING_UNIFORMS], uniform in [0, 1).
        probability: Share of the samples that lose a rectangle.
        shares: Smallest and largest share of the image that a rectangle covers, if its longer side fits the image.
        size: Side of the images in pixels.

    Returns:
        int64 [B, 4], wholly inside the image.
    """
    chosen, share, aspect, x, y = uniforms.unbind(dim=1)
    pixels = (shares[0] + share * (shares[1] - shares[0])) * size**2
    # The paper draws the ratio evenly from [0.3, 1 / 0.3] and so favours tall boxes; evenly in its logarithm, as
    # torchvision does, neither direction is favoured.
    root = torch.exp((aspect - 0.5) * math.log(ERASING_RATIO))
    width = (pixels.sqrt() / root).round().clamp(max=size)
    height = (pixels.sqrt() * root).round().clamp(max=size)
    left = (x * (size - width + 1)).floor()
    top = (y * (size - height + 1)).floor()
    boxes = torch.stack([left, top, left + width, top + height], dim=1).long()
    return boxes * (chosen < probability).unsqueeze(1)
