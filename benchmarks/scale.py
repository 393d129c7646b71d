"""How do time, memory and files grow from ten thousand drawings to a million, and what would fifty million need?

    fastsketch bench scale

Every measurement is a process of its own that does nothing else: a conversion, an epoch of the streaming loader, or the
merge of two parts. The exponent of a growth is the slope of its logarithm over two decades: 1 is linear, 0 constant.
What a conversion or an epoch takes before its first drawing is measured by itself and subtracted, for it does not grow.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from fastsketch.errors import ConfigError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.workers import available_cpus

from .common import write_results
from .drawings import JITTER, repeat_drawings
from .originals import SHARED
from .plots import save_figure

COUNTS = (10_000, 100_000, 1_000_000)
ROUNDS = (3, 3, 1)
SIZE = 32
BATCH = 256
FEW = 345
"""A drawing a class: what these take is all start."""

TARGET = 50_000_000
TARGET_SIZES = (64, 128)
TARGET_MACHINES = (1, 8, 64)
SPEED_COUNT = 69_000
"""Drawings by which the speeds at the target's sizes are measured."""

_PROCESS = """
import json, resource, sys, threading, time
from pathlib import Path

most = {"anonymous": 0.0}

def anonymous():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["RssAnon"].split()[0]) / 1024

def watch():
    while True:
        most["anonymous"] = max(most["anonymous"], anonymous())
        time.sleep(0.02)

def convert(source, folder, size, part=None):
    from fastsketch.config import ConvertConfig
    from fastsketch.conversion import convert_dataset
    from fastsketch.sources import open_source
    config = ConvertConfig(size=int(size), split="0.9/0.1", part=part)
    return lambda: convert_dataset(open_source(Path(source)), Path(folder), config)

def merge(folder, *parts):
    from fastsketch.conversion import merge_parts
    return lambda: merge_parts(parts, folder)

def epoch(folder, batch):
    import torch
    from fastsketch.formats.metadata import DatasetMetadata
    from fastsketch.loaders import Sampling, open_loader
    sampling = Sampling(int(batch), shuffle=True)
    def run():
        dataset = DatasetMetadata.load(Path(folder))
        device = torch.device("cpu")
        loader = open_loader(Path(folder), dataset, "train", sampling, device, name="pack", verify=False)
        assert sum(len(batch.labels) for batch in loader.epoch()) == dataset.splits["train"].samples
    return run

if __name__ == "__main__":
    run = globals()[sys.argv[1]](*sys.argv[2:])
    threading.Thread(target=watch, daemon=True).start()
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    decoder = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "mebibytes": max(most["anonymous"], anonymous()), "decoder": decoder}))
"""


class Start(NamedTuple):
    """Seconds before the first drawing."""

    convert: float
    epoch: float


@dataclass(frozen=True, slots=True)
class Growth:
    """What so many drawings take.

    Attributes:
        drawings: How many.
        convert_seconds: Of each round.
        convert_mebibytes: The most memory of the process that writes, pages of mapped files left out.
        decoder_mebibytes: The most memory of a process that draws.
        epoch_seconds: Of each round.
        epoch_mebibytes: As that of the conversion.
        files: Of the data set.
        bytes: Of the data set.
    """

    drawings: int
    convert_seconds: list[float]
    convert_mebibytes: float
    decoder_mebibytes: float
    epoch_seconds: list[float]
    epoch_mebibytes: float
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Drawings a second at a size, converted on this machine, and merged."""

    size: int
    convert: float
    merge: float
    bytes_a_drawing: float


def run(out: Path, *, quick: bool = False) -> Path:
    """Run the benchmark, print its tables, write JSON and a plot into `out`; return the JSON.

    Raises:
        ConfigError: The real drawings are not there.
    """
    if not (SHARED / "quickdraw-strokes").is_dir():
        raise ConfigError("this benchmark needs real drawings", hint="set FASTSKETCH_DATA to the folder that has them")
    counts, rounds = ((1_000, 10_000), (1, 1)) if quick else (COUNTS, ROUNDS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = _start(folder, rounds=1 if quick else 5)
        growths = [_growth(folder, count, times) for count, times in zip(counts, rounds, strict=True)]
        speeds = [_speed(folder, size, 2_000 if quick else SPEED_COUNT) for size in TARGET_SIZES]
    exponents = _exponents(growths, start)
    _print_growths(growths, exponents, start)
    extrapolated = [_extrapolated(speed, machines) for speed in speeds for machines in TARGET_MACHINES]
    _print_extrapolated(extrapolated)
    settings = {"quick": quick, "size": SIZE, "jitter": JITTER, "workers": available_cpus()}
    path = write_results(
        out, "scale", settings, [], start_seconds=start._asdict(), growths=[asdict(each) for each in growths],
        exponents=exponents, speeds=[asdict(each) for each in speeds], extrapolated=extrapolated,
    )  # fmt: skip
    _plot(path.with_suffix(".png"), growths, exponents)
    return path


# --------------------------------------------------------------------------------------------------- measurements


def _measured(folder: Path, *arguments: object) -> dict[str, float]:
    """Seconds and peak memory of one process that does what the arguments say."""
    script = folder / "process.py"
    script.write_text(_PROCESS)
    command = [sys.executable, str(script), *map(str, arguments)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _start(folder: Path, rounds: int) -> Start:
    repeat_drawings(folder / "few", FEW, jitter=JITTER)
    datas = [folder / f"few-{number}" for number in range(rounds)]
    converted = [_measured(folder, "convert", folder / "few", data, SIZE)["seconds"] for data in datas]
    epochs = [_measured(folder, "epoch", data, BATCH)["seconds"] for data in datas]
    return Start(statistics.median(converted), statistics.median(epochs))


def _growth(folder: Path, count: int, rounds: int) -> Growth:
    strokes = folder / f"strokes-{count}"
    repeat_drawings(strokes, count, jitter=JITTER)
    converted, epochs = [], []
    for number in range(rounds):
        data = folder / f"data-{count}-{number}"
        converted.append(_measured(folder, "convert", strokes, data, SIZE))
        epochs.append(_measured(folder, "epoch", data, BATCH))
    files = list(data.iterdir())
    growth = Growth(
        drawings=count,
        convert_seconds=[each["seconds"] for each in converted],
        convert_mebibytes=max(each["mebibytes"] for each in converted),
        decoder_mebibytes=max(each["decoder"] for each in converted),
        epoch_seconds=[each["seconds"] for each in epochs],
        epoch_mebibytes=max(each["mebibytes"] for each in epochs),
        files=len(files),
        bytes=sum(path.stat().st_size for path in files),
    )
    for done in (strokes, *folder.glob(f"data-{count}-*")):
        shutil.rmtree(done)
    return growth


def _speed(folder: Path, size: int, count: int) -> Speed:
    """At a size of the target's: converted as two parts, one after the other, and merged."""
    strokes, merged = folder / f"speed-{size}", folder / f"merged-{size}"
    repeat_drawings(strokes, count)
    parts = [folder / f"part-{size}-{number}" for number in (1, 2)]
    convert = sum(
        _measured(folder, "convert", strokes, part, size, f"{number}/2")["seconds"]
        for number, part in enumerate(parts, start=1)
    )
    merge = _measured(folder, "merge", merged, *parts)["seconds"]
    samples = sum(split.samples for split in DatasetMetadata.load(merged).splits.values())
    assert samples == count
    size_bytes = sum(path.stat().st_size for path in merged.iterdir())
    return Speed(size, count / convert, count / merge, size_bytes / count)


# ------------------------------------------------------------------------------------------------------- summaries


def _exponents(growths: Sequence[Growth], start: Start) -> dict[str, float]:
    """Slopes of the logarithms over those of the numbers of drawings."""
    measured = {
        "convert time": [statistics.median(each.convert_seconds) - start.convert for each in growths],
        "convert time, start included": [statistics.median(each.convert_seconds) for each in growths],
        "convert memory": [each.convert_mebibytes for each in growths],
        "decoder memory": [each.decoder_mebibytes for each in growths],
        "epoch time": [statistics.median(each.epoch_seconds) - start.epoch for each in growths],
        "epoch time, start included": [statistics.median(each.epoch_seconds) for each in growths],
        "epoch memory": [each.epoch_mebibytes for each in growths],
    }
    counts = np.log([each.drawings for each in growths])
    return {name: float(np.polyfit(counts, np.log(values), 1)[0]) for name, values in measured.items()}


def _extrapolated(speed: Speed, machines: int) -> dict[str, float]:
    """What `TARGET` drawings need on so many machines like this one, if all grows as it did."""
    convert = TARGET / speed.convert / machines / 3600
    merge = TARGET / speed.merge / 3600 if machines > 1 else 0.0
    return {
        "size": speed.size,
        "machines": machines,
        "convert_hours": convert,
        "merge_hours": merge,
        "gigabytes": TARGET * speed.bytes_a_drawing / 1e9,
        "order_mebibytes": TARGET * 8 / 2**20,
    }


def _print_growths(growths: Sequence[Growth], exponents: dict[str, float], start: Start) -> None:
    titles = ("drawings", "convert s", "MiB", "decoder MiB", "epoch s", "MiB", "files", "MB")
    table = Table(
        *titles,
        title=f"growth at {SIZE} px, starts of {start.convert:.2f} and {start.epoch:.3f} s included",
        title_justify="left",
    )
    for each in growths:
        table.add_row(
            f"{each.drawings:,}",
            f"{statistics.median(each.convert_seconds):.2f}",
            f"{each.convert_mebibytes:.0f}",
            f"{each.decoder_mebibytes:.0f}",
            f"{statistics.median(each.epoch_seconds):.3f}",
            f"{each.epoch_mebibytes:.0f}",
            f"{each.files}",
            f"{each.bytes / 1e6:,.0f}",
        )
    console = Console(highlight=False)
    console.print(table)
    for name, exponent in exponents.items():
        console.print(f"exponent of {name}: {exponent:.3f}")


def _print_extrapolated(rows: Sequence[dict[str, float]]) -> None:
    title = f"{TARGET:,} drawings on machines like this one: extrapolated"
    table = Table("px", "machines", "convert h", "merge h", "GB", "order MiB", title=title, title_justify="left")
    for row in rows:
        hours = (f"{row['convert_hours']:.2f}", f"{row['merge_hours']:.2f}" if row["merge_hours"] else "-")
        table.add_row(
            f"{row['size']:.0f}", f"{row['machines']:.0f}", *hours, f"{row['gigabytes']:,.0f}",
            f"{row['order_mebibytes']:,.0f}",
        )  # fmt: skip
    Console(highlight=False).print(table)


def _plot(path: Path, growths: Sequence[Growth], exponents: dict[str, float]) -> None:
    """Time and memory over the number of drawings, on logarithmic axes."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    counts = [each.drawings for each in growths]
    for name, values in (
        ("convert", [statistics.median(each.convert_seconds) for each in growths]),
        ("epoch", [statistics.median(each.epoch_seconds) for each in growths]),
    ):
        seconds.loglog(counts, values, "o-", label=f"{name}: exponent {exponents[f'{name} time']:.2f}")
    for name, values in (
        ("convert", [each.convert_mebibytes for each in growths]),
        ("epoch", [each.epoch_mebibytes for each in growths]),
    ):
        memory.loglog(counts, values, "o-", label=f"{name}: exponent {exponents[f'{name} memory']:.2f}")
    seconds.set(xlabel="drawings", ylabel="seconds", title=f"time at {SIZE} px")
    memory.set(xlabel="drawings", ylabel="MiB", title="peak memory", ylim=(10, 10 ** math.ceil(math.log10(2000))))
    for axes in (seconds, memory):
        axes.legend(frameon=False)
    save_figure(path, figure)
