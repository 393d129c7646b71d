"""Pictures to augment: small, drawn with antialiased lines, and none of them symmetric."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor


def sketches(count: int, size: int = 64) -> Tensor:
    """Uint8 [count, 1, size, size]: an L with a dot, every one a little different."""
    images = []
    for index in range(count):
        scale = 4
        canvas = Image.new("L", (size * scale, size * scale), 255)
        pen = ImageDraw.Draw(canvas)
        unit = size * scale / 16
        pen.line([(4 * unit, 3 * unit), (4 * unit, 12 * unit), ((8 + index % 4) * unit, 12 * unit)], 0, scale * 2)
        pen.ellipse([11 * unit, 4 * unit, (12 + index % 3) * unit, 6 * unit], outline=0, width=scale)
        images.append(pil_to_tensor(canvas.resize((size, size), Image.Resampling.BILINEAR)))
    return torch.stack(images)


def ink_of(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Ink in [0, 1], paper = 0."""
    return 1 - images.to(dtype) / 255
