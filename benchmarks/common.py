"""What every benchmark does alike: take turns, summarise, record the machine, write the results."""

from __future__ import annotations

import gc
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from fastsketch import atomic
from fastsketch.environment import environment
from fastsketch.workers import available_cpus, process_pool

ResultT = TypeVar("ResultT")


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
    """Seconds a call over all rounds and in each, and images a second at the median."""

    name: str
    median: float
    minimum: float
    maximum: float
    images_per_second: float
    rounds: list[float]


def take_turns(contenders: Sequence[Contender], *, rounds: int, warmup: int = 1) -> list[Timing]:
    """Time the contenders in turns, A B C, C B A, …, so that a drift of the machine's speed falls on all of them alike.

    Nor does any of them always come after the same other one, whose workers or caches may be at work still. The first
    `warmup` rounds are not counted. On a GPU each call is followed by a synchronisation.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(warmup + rounds):
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
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
    return Timing(contender.name, median, min(seconds), max(seconds), contender.images / median, list(seconds))


def processes_at_once() -> int:
    """Trainings of a study at a time: on a CPU one a core, a fifth faster than all cores on one after the other."""
    return 1 if torch.cuda.is_available() else available_cpus()


def results_of(train: Callable[..., ResultT], trainings: Iterable[tuple[object, ...]]) -> Iterator[ResultT]:
    """What `train` returns for each of these arguments, in their order, from `processes_at_once` processes."""
    with process_pool(processes_at_once()) as pool:
        for training in [pool.submit(train, *arguments) for arguments in trainings]:
            yield training.result()


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """The most memory that one call of `work` takes beyond what was taken before, its result included."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = work()
        peak = torch.cuda.max_memory_allocated() - before
        del result
        return peak
    os.environ["KINETO_LOG_LEVEL"] = "99"  # or the profiler writes two lines about every call
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        result = work()
    del result
    assert profile.profiler is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(int(total) for total in np.cumsum(sizes))


def write_results(
    folder: Path, name: str, settings: Mapping[str, object], timings: Sequence[Timing], **more: object
) -> Path:
    """Write `folder/<name>-<device>.json`: the environment, the settings, every timing and whatever else there is.

    With `quick` among the settings the name ends in `-quick`: nothing measured is overwritten by a trial.
    """
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"cpu{available_cpus()}"
    suffix = "-quick" if settings.get("quick") else ""
    path = folder / f"{name}-{device.lower().replace(' ', '-')}{suffix}.json"
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
