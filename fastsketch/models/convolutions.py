"""Convolutions that train as fast on a CPU as their arithmetic allows: the same numbers by other ways.

Some of oneDNN's gradients fall far behind its others. Two cores of a Xeon with AMX, torch 2.15, bfloat16, median ms:

| gradient in EfficientNet-Lite0                   | forward | its own | here, eager | here, compiled |
|--------------------------------------------------|---------|---------|-------------|----------------|
| of 32 images, 96 channels, 3 × 3, stride 2       | 1.8     | 149     | 18          |                |
| of 32 images, 672 channels, 5 × 5, stride 2      | 0.7     | 157     | 2.9         |                |
| of depthwise filters, 672 of 5 × 5, 32 images    | 1.2     | 54      | 7.5         | 5.6            |
| of depthwise filters, 1,152 of 5 × 5, 32 images  | 0.4     | 38      | 4.5         | 1.3            |
| of 1 × 1 filters, 1152 → 192, 64 images of 3 × 3 | 1.1     | 3.8     | 0.5         |                |

The first four were two thirds of a step in bfloat16, which made it slower than float32. So gradients of the images with
a stride are computed in float32; those of depthwise filters larger than 3 × 3 as sums, which Inductor makes a loop of,
and in eager mode window by window, each of which is the gradient of a 3 × 3 filter; and where images are small, a 1 × 1
convolution is the matrix product that it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

WINDOW = 3
"""Side of the depthwise filters whose gradient is fast."""

MOST_PIXELS = 10_000
"""Of a batch, up to which a 1 × 1 convolution is faster as a matrix product: 64 images of 12 × 12 px are 9,216."""


def quicken_convolutions(model: nn.Module) -> None:
    """Let a model's depthwise and 1 × 1 convolutions train as above; parameters, their names and evaluation stay."""
    for module in model.modules():
        if _is_depthwise(module) and type(module) in DEPTHWISE:
            module.__class__ = DEPTHWISE[type(module)]
        elif type(module) is nn.Conv2d and _is_pointwise(module):
            module.__class__ = _PointwiseConv2d


def pointwise_conv2d(images: Tensor, filters: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1 × 1 convolution as a matrix product.

    Args:
        images: [B, C, H, W], channels last in memory, or they are copied.
        filters: [D, C, 1, 1].
        bias: [D].

    Returns:
        [B, D, H, W], channels last, in autocast's precision where it is on.
    """
    return F.linear(images.permute(0, 2, 3, 1), filters.flatten(1), bias).permute(0, 3, 1, 2)


def depthwise_conv2d(images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
    """`F.conv2d` with a group for each channel.

    Args:
        images: [B, C, H, W].
        filters: [C, 1, k, k], k odd.
        stride: In both directions.
        padding: Zeros on each side.

    Returns:
        [B, C, H', W'], in autocast's precision where it is on.
    """
    if torch.is_autocast_enabled(images.device.type):
        precision = torch.get_autocast_dtype(images.device.type)
        images, filters = images.to(precision), filters.to(precision)
    output: Tensor = _Depthwise.apply(images, filters, stride, padding)
    return output


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(images, filters)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, filters, None, stride, padding, 1, len(filters))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, filters = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        of_images = _of_images(grad, images, filters, ctx.stride, ctx.padding) if wanted[0] else None
        of_filters = _of_filters(grad, images, filters, ctx.stride, ctx.padding) if wanted[1] else None
        return of_images, of_filters, None, None


def _of_images(grad: Tensor, images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the images, [B, C, H, W]."""
    wide = images.dtype if stride == 1 else torch.promote_types(images.dtype, torch.float32)
    found = _backward(grad.to(wide), images.to(wide), filters.to(wide), stride, padding, (True, False))[0]
    return found.to(images.dtype)


def _of_filters(grad: Tensor, images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of the filters, [C, 1, k, k]."""
    side = filters.shape[-1]
    if side <= WINDOW:
        return _backward(grad, images, filters, stride, padding, (False, True))[1]
    padded = F.pad(images, (padding,) * 4)
    if torch.compiler.is_compiling():
        return _as_sums(grad, padded, side, stride)
    height, width = (stride * (outputs - 1) + WINDOW for outputs in grad.shape[-2:])
    window, found = filters[..., :WINDOW, :WINDOW], torch.zeros_like(filters)
    corners = range(0, side - WINDOW + 1, WINDOW - 1)  # windows overlap by a row, in which they agree
    for top in corners:
        for left in corners:
            seen = padded[..., top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
            part = _backward(grad, seen, window, stride, 0, (False, True))[1]
            found[..., top : top + WINDOW, left : left + WINDOW] = part
    return found


def _as_sums(grad: Tensor, padded: Tensor, side: int, stride: int) -> Tensor:
    """The gradient of the filters, each of its elements a sum over all images and pixels."""
    height, width = (stride * (outputs - 1) + 1 for outputs in grad.shape[-2:])
    wide = torch.promote_types(grad.dtype, torch.float32)
    elements = [
        (grad.to(wide) * padded[..., top : top + height : stride, left : left + width : stride].to(wide)).sum((0, 2, 3))
        for top in range(side)
        for left in range(side)
    ]
    return torch.stack(elements, dim=1).reshape(-1, 1, side, side).to(grad.dtype)


def _backward(
    grad: Tensor, images: Tensor, filters: Tensor, stride: int, padding: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """torch's own gradients of the images and of the filters; what is not wanted is None."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, images, filters, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(filters), [*wanted, False]
    )
    return found[:2]


class _DepthwiseConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        assert not isinstance(self.padding, str), "_is_depthwise has seen it"
        return depthwise_conv2d(input, self.weight, self.stride[0], self.padding[0])


class _DepthwiseConv2dSame(Conv2dSame):  # type: ignore[misc]  # timm has no types
    def forward(self, x: Tensor) -> Tensor:
        padded = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
        return depthwise_conv2d(padded, self.weight, self.stride[0], 0)


class _PointwiseConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        batch, _, height, width = input.shape
        if batch * height * width > MOST_PIXELS or not torch.is_grad_enabled():  # evaluation is torch's own to the bit
            return super().forward(input)
        return pointwise_conv2d(input, self.weight, self.bias)


DEPTHWISE: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _DepthwiseConv2d, Conv2dSame: _DepthwiseConv2dSame}


def _is_pointwise(module: nn.Conv2d) -> bool:
    """Whether `pointwise_conv2d` can take its place."""
    return (
        module.kernel_size == module.stride == (1, 1)
        and module.groups == 1
        and module.padding in ((0, 0), "valid", "same")
    )


def _is_depthwise(module: nn.Module) -> bool:
    """Whether `depthwise_conv2d` can take its place."""
    return (
        isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels == module.out_channels > 1
        and module.kernel_size[0] == module.kernel_size[1]
        and module.kernel_size[0] % 2 == 1
        and module.stride[0] == module.stride[1]
        and module.dilation == (1, 1)
        and module.bias is None
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.padding[0] == module.padding[1]
    )
