"""Depthwise convolutions whose gradients are as fast on a CPU as the rest of the model.

Two of oneDNN's depthwise gradients fall far behind its others. Batches of 32, two cores of a Xeon with AMX, torch 2.15,
in ms:

| of a layer of EfficientNet-Lite0 at 128 px   | forward | its own, float32 | its own, bfloat16 | here, bfloat16 |
|----------------------------------------------|---------|------------------|-------------------|----------------|
| of the images, 96 channels, 3 × 3, stride 2  | 1.5     | 12.5             | 158               | 13             |
| of the images, 672 channels, 5 × 5, stride 2 | 0.6     | 0.7              | 155               | 1              |
| of the filters, 672 channels, 5 × 5          | 1.1     | 9.3              | 58                | 4              |
| of the filters, 1,152 channels, 5 × 5        | 0.4     | 7.2              | 36                | 2              |

They were two thirds of a step, which is why bfloat16 was slower than float32. So gradients of the images with a stride
are computed in float32; and those of filters larger than 3 × 3 window by window, each of which is the gradient of a
3 × 3 filter.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

WINDOW = 3
"""Side of the filters whose gradient is fast."""


def quicken_depthwise(model: nn.Module) -> None:
    """Give a model's depthwise convolutions the gradients of `depthwise_conv2d`; parameters and their names stay."""
    for module in model.modules():
        if type(module) in QUICKENED and _is_depthwise(module):
            module.__class__ = QUICKENED[type(module)]


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
    output: Tensor = _DepthwiseConv2d.apply(images, filters, stride, padding)
    return output


class _DepthwiseConv2d(torch.autograd.Function):
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
    height, width = (stride * (outputs - 1) + WINDOW for outputs in grad.shape[-2:])
    window, found = filters[..., :WINDOW, :WINDOW], torch.zeros_like(filters)
    corners = range(0, side - WINDOW + 1, WINDOW - 1)  # windows overlap by a row, in which they agree
    for top in corners:
        for left in corners:
            seen = padded[..., top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
            part = _backward(grad, seen, window, stride, 0, (False, True))[1]
            found[..., top : top + WINDOW, left : left + WINDOW] = part
    return found


def _backward(
    grad: Tensor, images: Tensor, filters: Tensor, stride: int, padding: int, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    """torch's own gradients of the images and of the filters; what is not wanted is None."""
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, images, filters, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], len(filters), [*wanted, False]
    )
    return found[:2]


class _QuickConv2d(nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        assert not isinstance(self.padding, str), "_is_depthwise has seen it"
        return depthwise_conv2d(input, self.weight, self.stride[0], self.padding[0])


class _QuickConv2dSame(Conv2dSame):  # type: ignore[misc]  # timm has no types
    def forward(self, x: Tensor) -> Tensor:
        padded = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
        return depthwise_conv2d(padded, self.weight, self.stride[0], 0)


QUICKENED: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _QuickConv2d, Conv2dSame: _QuickConv2dSame}


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
