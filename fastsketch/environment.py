"""What a figure or a model is worth nothing without: the hardware, the versions, the code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

from fastsketch.workers import available_cpus

PACKAGES = ("fastsketch", "torch", "torchvision", "timm", "kornia", "numpy", "pillow", "imagecodecs", "ffcv")
DALI_PACKAGES = ("nvidia-dali-cuda130", "nvidia-dali-cuda120")


def environment() -> dict[str, object]:
    """The machine, without its name, and the versions of everything that computes on it.

    `commit` is that of fastsketch itself, if it runs from a checkout.
    """
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu_name(),
        "cores": available_cpus(),
        "memory_gib": _memory(),
        "gpu": gpu and {"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)},
        "cuda": torch.version.cuda if gpu else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "commit": _own_commit(),
        "versions": {name: version for name in (*PACKAGES, *DALI_PACKAGES) if (version := _version(name))},
    }


def git_commit(folder: Path) -> str | None:
    """The commit that is checked out around `folder`, with `-dirty` if tracked files differ; None if there is none."""
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*")


def _own_commit() -> str | None:
    # An installed package may lie in a virtual environment inside somebody's checkout: that one is not meant.
    here = Path(__file__)
    return git_commit(here.parent) if _git(here.parent, "ls-files", here.name) else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command said; None if it failed, took long (on a network drive) or is not installed."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return result.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except Exception:  # not installed, or installed by halves: its metadata may lack anything
        return None


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
