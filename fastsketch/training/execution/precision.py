"""Which number format the model computes in."""

from __future__ import annotations

import logging
from functools import cache

import torch

from fastsketch.errors import ConfigError

log = logging.getLogger(__name__)

FAST_BFLOAT16 = (8, 0)
"""From this compute capability on, GPUs multiply bfloat16 in hardware. Torch's `is_bf16_supported` also says yes where
it is emulated, as on a T4 (7.5), many times slower than float16."""


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto`, or the name of a dtype, as the dtype that the model computes in; weights stay float32.

    Raises:
        ConfigError: The device cannot train in it.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= FAST_BFLOAT16 else torch.float16
    precision: torch.dtype = getattr(torch, name)
    if precision is torch.float16 and device.type == "cpu":
        raise ConfigError("training.precision float16 needs a GPU", hint="bfloat16 and float32 work on a CPU")
    if precision is torch.bfloat16 and device.type == "cpu" and _emulated():
        _warn_of_emulation()
    return precision


def resolve_inference_precision(name: str, device: torch.device) -> torch.dtype:
    """What a model that was trained in a precision is asked in: on a CPU that has it not, in float32."""
    if device.type == "cpu" and (name == "float16" or (name == "bfloat16" and _emulated())):
        return torch.float32
    return resolve_precision(name, device)


def _emulated() -> bool:
    """Whether this CPU emulates bfloat16: with AVX2 alone a small transformer's step took 12 times float32's time."""
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(onednn and not torch.ops.mkldnn._is_mkldnn_bf16_supported())


@cache
def _warn_of_emulation() -> None:
    """Once in a process."""
    log.warning("this CPU emulates bfloat16, many times slower than float32: set training.precision=float32")


def loss_scaler(device: torch.device, precision: torch.dtype) -> torch.amp.GradScaler:
    """Scales the loss in float16, whose smallest numbers gradients fall below; does nothing in other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision is torch.float16)


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context in which the model runs."""
    reduced = precision is not torch.float32
    return torch.autocast(device.type, dtype=precision if reduced else None, enabled=reduced)
