"""Convolutions: other ways than torch's, the same numbers."""

from __future__ import annotations

import copy
import itertools

import pytest
import timm
import torch
import torch.nn.functional as F
from functorch.compile import make_boxed_func
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd

from fastsketch.models import convolutions
from fastsketch.models.convolutions import depthwise_conv2d, pointwise_conv2d, quicken_convolutions


def gradients(
    convolve: object, images: Tensor, filters: Tensor, stride: int, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and both gradients of a loss to which every element of it counts differently."""
    images, filters = images.detach().requires_grad_(), filters.detach().requires_grad_()
    output = convolve(images, filters, stride, padding)  # type: ignore[operator]
    weights = torch.linspace(-1, 1, output.numel()).reshape(output.shape).to(output.dtype)
    (output * weights).sum().backward()
    assert images.grad is not None
    assert filters.grad is not None
    return output.detach(), images.grad, filters.grad


def torch_own(images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
    return F.conv2d(images, filters, None, stride, padding, 1, len(filters))


@pytest.mark.parametrize(
    ("side", "stride", "padding"),
    [(*each,) for each in itertools.product((1, 3, 5, 7, 9), (1, 2, 3), (0, 1, 2, 4))],
)
def test_all_filters_strides_and_paddings_have_torch_s_gradients(side: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 11, 14, dtype=torch.float64)
    filters = torch.randn(3, 1, side, side, dtype=torch.float64)
    ours = gradients(depthwise_conv2d, images, filters, stride, padding)
    for mine, theirs in zip(ours, gradients(torch_own, images, filters, stride, padding), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("side", "stride"), [*itertools.product((5, 7), (1, 2))])
def test_what_inductor_is_given_has_the_same_gradients(side: int, stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    images, filters = torch.randn(2, 3, 11, 14, dtype=torch.float64), torch.randn(3, 1, side, side, dtype=torch.float64)
    expected = gradients(torch_own, images, filters, stride, side // 2)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for mine, theirs in zip(gradients(depthwise_conv2d, images, filters, stride, side // 2), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("side", "convolutions_left"), [(3, 2), (5, 1)])
def test_what_is_compiled_sums_where_filters_are_large(side: int, convolutions_left: int) -> None:
    torch.manual_seed(0)
    images, filters = torch.randn(2, 4, 9, 9), torch.randn(4, 1, side, side)
    expected = gradients(torch_own, images, filters, 1, side // 2)
    backward: list[str] = []

    def noted(graph: torch.fx.GraphModule, _: object) -> object:
        backward.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph.forward), bw_compiler=noted)
    compiled = torch.compile(depthwise_conv2d, backend=backend, fullgraph=True)
    for mine, theirs in zip(gradients(compiled, images, filters, 1, side // 2), expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert backward.count("aten.convolution_backward.default") == convolutions_left  # of images, and of small filters


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_pointwise_convolution_is_a_matrix_product(order: torch.memory_format, bias: bool) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 6, 5, 7, dtype=torch.float64).to(memory_format=order).requires_grad_()
    conv = nn.Conv2d(6, 4, 1, bias=bias, dtype=torch.float64)
    ours, theirs = pointwise_conv2d(images, conv.weight, conv.bias), conv(images)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, theirs)
    inputs = [images, *conv.parameters()]
    loss = torch.linspace(-1, 1, ours.numel(), dtype=torch.float64).reshape(ours.shape)
    for mine, true in zip(
        torch.autograd.grad((ours * loss).sum(), inputs),
        torch.autograd.grad((theirs * loss).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, true)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    batch=st.integers(1, 3), channels=st.integers(2, 17), height=st.integers(5, 20), width=st.integers(5, 20),
    side=st.sampled_from((3, 5)), stride=st.integers(1, 3), last=st.booleans(), half=st.booleans(),
)  # fmt: skip
def test_in_the_precisions_that_are_trained_in(
    batch: int, channels: int, height: int, width: int, side: int, stride: int, last: bool, half: bool
) -> None:
    torch.manual_seed(0)
    dtype = torch.bfloat16 if half else torch.float32
    order = torch.channels_last if last else torch.contiguous_format
    images = torch.randn(batch, channels, height, width).to(dtype).to(memory_format=order)
    filters = torch.randn(channels, 1, side, side).to(dtype)
    ours = gradients(depthwise_conv2d, images, filters, stride, side // 2)
    exact = gradients(torch_own, images.double(), filters.double(), stride, side // 2)
    for mine, true in zip(ours, exact, strict=True):
        assert mine.dtype is dtype
        # A sum over a batch is rounded once for each thread that has a part of it; numbers near zero as their terms.
        torch.testing.assert_close(
            mine.double(), true, rtol=2e-2 if half else 1e-5, atol=(1e-2 if half else 1e-5) * float(true.abs().max())
        )


def test_only_what_is_wanted_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []
    backward = convolutions._backward
    monkeypatch.setattr(
        convolutions, "_backward", lambda *arguments: asked.append(arguments[-1]) or backward(*arguments)
    )  # type: ignore[func-returns-value]
    images, filters = torch.randn(1, 2, 8, 8), torch.randn(2, 1, 5, 5)
    depthwise_conv2d(images, filters.clone().requires_grad_(), 1, 2).sum().backward()
    assert asked == [(False, True)] * 4
    asked.clear()
    depthwise_conv2d(images.clone().requires_grad_(), filters, 1, 2).sum().backward()
    assert asked == [(True, False)]


# ------------------------------------------------------------------------------------------------------ models


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "lcnet_050", "mobilenetv2_050", "test_efficientnet"])
def test_a_model_is_the_same_but_for_its_gradients_rounding(name: str) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model(name, in_chans=1, num_classes=5).eval()
    ours = copy.deepcopy(theirs)
    quicken_convolutions(ours)
    swapped = [type(module) for module in ours.modules() if module.__class__.__module__ == convolutions.__name__]
    convs = [module for module in theirs.modules() if isinstance(module, nn.Conv2d)]
    assert len([kind for kind in swapped if kind in convolutions.DEPTHWISE.values()]) == sum(
        conv.groups > 1 for conv in convs
    )
    assert len(swapped) == sum(
        conv.groups > 1 or (conv.kernel_size == (1, 1) and conv.stride == (1, 1)) for conv in convs
    )
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    images = torch.rand(2, 1, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))
    outputs = [model(images) for model in (ours, theirs)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.square().sum().backward()
    for mine, true in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None
        assert true.grad is not None
        torch.testing.assert_close(mine.grad, true.grad, rtol=1e-3, atol=1e-4 * float(true.grad.abs().max()))


@pytest.mark.parametrize(("side", "product"), [(70, True), (71, False)])
def test_a_pointwise_convolution_of_many_pixels_stays_one(
    side: int, product: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(convolutions, "pointwise_conv2d", lambda *given: (seen.append(1), pointwise_conv2d(*given))[1])
    conv = nn.Conv2d(3, 2, 1)
    quicken_convolutions(conv)
    images = torch.rand(2, 3, side, side)
    expected = F.conv2d(images, conv.weight, conv.bias)
    torch.testing.assert_close(conv(images), expected)
    assert bool(seen) == product  # 9,800 or 10,082 pixels
    with torch.no_grad():
        assert torch.equal(conv(images), expected)
    assert len(seen) == product


def test_a_copy_of_a_quick_model_has_weights_of_its_own() -> None:
    model = timm.create_model("test_efficientnet", in_chans=1).eval()
    quicken_convolutions(model)
    twin, images = copy.deepcopy(model), torch.rand(1, 1, 32, 32)
    before = model(images)
    for parameter in twin.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(model(images), before)
    assert not torch.equal(twin(images), before)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 4, groups=4, bias=False),
        nn.Conv2d(4, 4, (3, 5), groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, stride=(1, 2)),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding="same"),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding=(1, 0)),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding=1, padding_mode="circular"),
        nn.Conv2d(1, 1, 3, bias=False),
        Conv2dSame(4, 4, 3, bias=False),
        nn.Conv3d(4, 4, 3, groups=4, bias=False),
    ],
    ids=str,
)
def test_other_convolutions_are_left_alone(module: nn.Module) -> None:
    kind = type(module)
    quicken_convolutions(module)
    assert type(module) is kind
