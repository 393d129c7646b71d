"""Where to compute."""

from __future__ import annotations

import torch

from fastsketch.errors import ConfigError, one_line


def resolve_device(name: str) -> torch.device:
    """`auto` (a CUDA GPU, Apple's MPS, else the CPU) or any of torch's device names.

    Raises:
        ConfigError: There is no such device here, or it computes nothing (`meta`).
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        probe = torch.ones(1, device=name)
        if (probe + 1).item() != 2:
            raise ValueError("it computes 1 + 1 wrong")
    except Exception as error:
        # torch says "not compiled with CUDA", "no NVIDIA driver" or "invalid ordinal", each in another class.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"device '{one_line(name, 40)}' cannot be used: {one_line(reason, 200)}", hint="auto, cpu, cuda or mps"
        ) from error
    return probe.device
