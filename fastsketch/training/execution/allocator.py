"""On a CPU: memory that a step has freed stays the process's, for the next step.

glibc gives large blocks back to the system as soon as they are free, and a step frees all its activations. The next one
gets them anew, page by page, each of them a fault and filled with zeros.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Of mallopt(3)."""

KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}
"""No block is mapped by itself, the heap never shrinks, and grows by so many bytes at least."""

USUAL = {M_MMAP_MAX: 65_536, M_TRIM_THRESHOLD: 128 << 10, M_TOP_PAD: 0}
"""glibc's own; it then no longer moves the first two thresholds by itself, as it does in a process that never asked."""


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Within this, on a CPU and with glibc; elsewhere nothing happens. At the end all that is free goes back."""
    libc = _glibc() if device.type == "cpu" else None
    if libc is None:
        yield
        return
    for setting, value in KEEPING.items():
        libc.mallopt(setting, value)
    try:
        yield
    finally:
        for setting, value in USUAL.items():
            libc.mallopt(setting, value)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
