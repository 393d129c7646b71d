"""A Tesla T4 that is pretended, so that Inductor and Triton lower for it on a machine without a GPU.

Nothing runs on it: tensors have no content, and kernels are compiled but not loaded. It rests on internals of torch
2.15 and Triton 3.9; another version may want other answers to its questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

CAPABILITY = 75
"""A T4's compute capability, times ten."""

PROPERTIES = SimpleNamespace(
    name="Tesla T4",
    major=7,
    minor=5,
    multi_processor_count=40,
    total_memory=16 * 10**9,
    warp_size=32,
    regs_per_multiprocessor=65_536,
    max_threads_per_multi_processor=1_024,
    max_threads_per_block=1_024,
    shared_memory_per_block=48 << 10,
    shared_memory_per_block_optin=64 << 10,
    shared_memory_per_multiprocessor=64 << 10,
    L2_cache_size=4 << 20,
    is_integrated=False,
    clock_rate=1_590_000,
    memory_clock_rate=5_001_000,
    memory_bus_width=256,
    gcnArchName="",
)
"""As CUDA would describe it."""


class Driver:
    """Triton's, of the pretended device."""

    def __init__(self) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", CAPABILITY, 32)

    def get_current_target(self) -> Any:
        """What to compile for."""
        return self._target

    def get_current_device(self) -> int:
        """The only one."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """The same for torch."""
        return torch.device("cuda", 0)


@contextmanager
def pretended_t4() -> Iterator[FakeTensorMode]:
    """Within, torch finds a T4; yields the mode under which tensors may be made on it."""
    from torch._dynamo.device_interface import CudaInterface
    from torch.utils._triton import has_triton
    from triton.runtime import driver

    has_triton.cache_clear()  # it was asked for the CPU, perhaps
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        torch.empty(0, device="cuda")  # the first one, before CUDA is there: later it would look for the driver
    cuda: dict[str, Any] = {
        "_lazy_init": lambda: None,
        "_get_device_properties": lambda *_: PROPERTIES,
        "get_device_properties": lambda *_: PROPERTIES,
        "get_device_capability": lambda *_: (7, 5),
        "get_device_name": lambda *_: PROPERTIES.name,
        "is_available": lambda: True,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "is_bf16_supported": lambda *_, **__: False,
    }
    interface: dict[str, Any] = {
        "get_device_properties": lambda *_: PROPERTIES,
        "get_compute_capability": lambda *_: CAPABILITY,
        "is_available": lambda: True,
        "current_device": lambda: 0,
    }
    with ExitStack() as stack:
        for name, answer in cuda.items():
            stack.enter_context(mock.patch(f"torch.cuda.{name}", answer, create=True))
        for name, answer in interface.items():
            stack.enter_context(mock.patch.object(CudaInterface, name, staticmethod(answer)))
        stack.enter_context(
            mock.patch.object(CudaInterface.Worker, "get_device_properties", staticmethod(lambda *_: PROPERTIES))
        )
        stack.enter_context(mock.patch.object(driver, "_active", Driver()))
        yield fake
