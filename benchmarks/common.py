"""What every benchmark does alike: take turns, summarise, record the machine, write the results."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table

from fastsketch import atomic
from fastsketch.workers import available_cpus

PACKAGES = ("fastsketch", "torch", "torchvision", "timm", "kornia", "numpy", "pillow", "imagecodecs", "ffcv")
DALI_PACKAGES = ("nvidia-dali-cuda130", "nvidia-dali-cuda120")


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work.

    Attributes:
        name: As in the table.
        run: Does the work once; all contenders of a benchmark do the same.
        images: Images that one call of `run` handles.
    """

    name: str
    run: Callable[[], object]
    images: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a call over all rounds, and images a second at the median."""

    name: str
    median: float
    minimum: float
    maximum: float
    rounds: int
    images_per_second: float


def take_turns(contenders: Sequence[Contender], *, rounds: int, warmup: int = 1) -> list[Timing]:
    """Time the contenders A B C, A B C, … so that a drift of the machine's speed falls on all of them alike.

    The first `warmup` rounds are not counted. On a GPU each call is followed by a synchronisation.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(warmup + rounds):
        for contender in contenders:
            gc.collect()
            synchronize()
            started = perf_counter()
            contender.run()
            synchronize()
            if turn >= warmup:
                seconds[contender.name].append(perf_counter() - started)
    return [_timing(contender, seconds[contender.name]) for contender in contenders]


def _timing(contender: Contender, seconds: Sequence[float]) -> Timing:
    median = statistics.median(seconds)
    return Timing(contender.name, median, min(seconds), max(seconds), len(seconds), contender.images / median)


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def environment() -> dict[str, object]:
    """The hardware and the versions that a figure is worth nothing without."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu_name(),
        "cores": available_cpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": gpu and {"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)},
        "cuda": torch.version.cuda if gpu else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "commit": _commit(),
        "versions": {name: version for name in (*PACKAGES, *DALI_PACKAGES) if (version := _version(name))},
    }


def write_results(
    folder: Path, name: str, settings: Mapping[str, object], timings: Sequence[Timing], **more: object
) -> Path:
    """Write `folder/<name>-<device>.json`: the environment, the settings, every timing and whatever else there is."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"cpu{available_cpus()}"
    path = folder / f"{name}-{device.lower().replace(' ', '-')}.json"
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "benchmark": name,
        "environment": environment(),
        "settings": dict(settings),
        "timings": [asdict(timing) for timing in timings],
        **more,
    }
    atomic.write_json(path, record)
    return path


def print_table(title: str, timings: Sequence[Timing], baseline: str) -> None:
    """Print the timings with each one's speed as a multiple of the contender called `baseline`."""
    base = next(timing.images_per_second for timing in timings if timing.name == baseline)
    table = Table("contender", "median s", "min – max", "images/s", f"× {baseline}", title=title, title_justify="left")
    for timing in timings:
        table.add_row(
            timing.name,
            f"{timing.median:.4f}",
            f"{timing.minimum:.4f} – {timing.maximum:.4f}",
            f"{timing.images_per_second:,.0f}",
            f"{timing.images_per_second / base:.2f}",
        )
    Console(highlight=False).print(table)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> str | None:
    here = Path(__file__).parent
    result = subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return result.stdout.strip() or None
