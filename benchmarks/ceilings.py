"""How far a step is from what this device reaches at best: its operations, and a large matrix product."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


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
