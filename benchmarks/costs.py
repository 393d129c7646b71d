"""What a training step costs: counted operations, and the speed at which this device, or a T4, could do them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from fastsketch.models.zoo import timm_name

REPORT_MODELS = ("vit_small", "vit_base", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2")

T4_FLOPS = 24e12
"""Operations a second in half-precision matrix products that a T4 sustains at its 70 W; 65e12 on paper."""

T4_BANDWIDTH = 320e9
"""Bytes a second."""


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The cost of one of the report's models at 224 px, one gray channel: computed, nothing of it measured.

    Attributes:
        name: As in recipes.
        parameters: In millions.
        gmacs: 1e9 multiply-adds of an image's forward pass.
        train_gflops: 1e9 operations of its forward and backward pass, two a multiply-add.
        train_megabytes: 1e6 bytes that its forward and backward pass read and write in float16 if no two operators
            are fused, weights shared by a batch.
        t4_compute: Images a second that the T4's sustained operations allow.
        t4_bandwidth: Images a second that its memory allows; a compiled step moves less and may exceed it.
        t4_ceiling: The smaller of both (Williams et al., 2009, roofline).
    """

    name: str
    parameters: float
    gmacs: float
    train_gflops: float
    train_megabytes: float
    t4_compute: float
    t4_bandwidth: float
    t4_ceiling: float


def count_flops(loss: Callable[[], Tensor]) -> int:
    """Operations of the matrix products and convolutions of a forward and backward pass."""
    # The fused attention kernels are not known to every version's counter; their decomposition is.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def matrix_product(device: torch.device, precision: torch.dtype) -> tuple[Callable[[], None], int]:
    """A large matrix product several times over, and its operations: the ceiling of what the device reaches."""
    side, repeats = (8192, 10) if device.type == "cuda" else (2048, 2)
    left, right = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    out = torch.empty_like(left)

    def work() -> None:
        for _ in range(repeats):
            torch.mm(left, right, out=out)

    return work, 2 * side**3 * repeats


def report_models(*, batch: int = 32) -> list[ModelCost]:
    """The cost of the report's six models, counted without computing anything."""
    return [_cost(name, batch) for name in REPORT_MODELS]


def _cost(name: str, batch: int) -> ModelCost:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(timm_name(name), in_chans=1, num_classes=250).half()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device="cpu")
        images = torch.empty(batch, 1, 224, 224, dtype=torch.float16)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
            model(images)
        with _Traffic() as traffic:  # attention is one operator here, as in the kernels of a T4
            model(images).sum().backward()
    # Twice the forward pass again in the backward pass: torch's counter errs there where convolutions have groups.
    flops = 3 * forward.get_total_flops()
    compute, bandwidth = T4_FLOPS * batch / flops, T4_BANDWIDTH * batch / traffic.bytes
    return ModelCost(
        name,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        gmacs=forward.get_total_flops() / 2e9 / batch,
        train_gflops=flops / 1e9 / batch,
        train_megabytes=traffic.bytes / 1e6 / batch,
        t4_compute=compute,
        t4_bandwidth=bandwidth,
        t4_ceiling=min(compute, bandwidth),
    )


class _Traffic(TorchDispatchMode):
    """Counts the bytes of all operators' arguments and results; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func.namespace == "aten":
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(prod(tensor.shape) * tensor.element_size() for tensor in tensors)
        return result
