"""Where to compute."""

from __future__ import annotations

import torch

from fastsketch.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` (a CUDA GPU, Apple's MPS, else the CPU) or any of torch's device names.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        # torch says "not compiled with CUDA", "no NVIDIA driver" or "invalid ordinal", each in another class.
        raise ConfigError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
