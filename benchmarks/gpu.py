"""Is all of it right on this GPU, and how fast? One script, about eight minutes, the most important figures first.

    fastsketch bench gpu                            # on a GPU
    fastsketch bench gpu --device cpu --quick       # to see that it runs

The parts stand in `gpu_parts`, each with what it compares. After every part the JSON, the table for the documentation
and the plot are written: what a session's end cuts off has left the rest. A part that fails is recorded as failed,
with its reason, and the others go on; what its time did not suffice for is named.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from fastsketch import atomic
from fastsketch.device import resolve_device
from fastsketch.environment import environment
from fastsketch.errors import ConfigError
from fastsketch.training.execution.compile import first_line

from .gpu_bench import Bench
from .gpu_parts import PARTS
from .plots import plot_panels

SECONDS = 460.0
"""All parts together. Each gets its share of what is left, so that what one saves the next may use."""


def run(out: Path, *, quick: bool = False, device: str = "auto") -> Path:
    """Run all parts, print their tables, write JSON, plot and Markdown into `out`; return the JSON.

    Args:
        out: Folder for the results.
        quick: Tiny models and few rounds: to see that it runs.
        device: `auto` is the GPU; any other where one is to see that it runs.

    Raises:
        ConfigError: There is no GPU.
    """
    if device == "auto" and not torch.cuda.is_available():
        raise ConfigError("there is no GPU here", hint="`fastsketch bench gpu --device cpu --quick` shows that it runs")
    where = resolve_device("cuda" if device == "auto" else device)
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    path = out / f"gpu-{name.lower().replace(' ', '-')}{'-quick' if quick else ''}.json"
    out.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "benchmark": "gpu",
        "environment": environment(),
        "settings": {"device": str(where), "quick": quick, "seconds": SECONDS},
        "parts": {},
    }
    started, weights = monotonic(), [weight for weight, _ in PARTS]
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(where, quick, Path(temporary))
        for number, (weight, part) in enumerate(PARTS):
            left = SECONDS - (monotonic() - started)
            bench.deadline = monotonic() + left * weight / sum(weights[number:])
            record["parts"][part.__name__] = found = _run_part(part, bench, path.with_suffix(".png"))
            record["seconds"] = round(monotonic() - started, 1)
            atomic.write_json(path, record)
            _write_table(path.with_suffix(".md"), name, bench.rows)
            bench.console.print(f"{part.__name__}: {found['status']}, {found['seconds']:.0f} s\n")
    return path


def _run_part(part: Callable[[Bench], None], bench: Bench, plot: Path) -> dict[str, Any]:
    bench.found, bench.left_out = {}, []
    started, status = monotonic(), "done"
    bench.console.print(f"{part.__name__.replace('_', ' ')}: {(part.__doc__ or '').splitlines()[0]}")
    try:
        part(bench)
        if bench.panels:
            plot_panels(plot, bench.panels)
    except Exception as error:  # the rest is worth as much without it
        status = f"failed: {first_line(error)}"
    finally:
        _clear()
    seconds = round(monotonic() - started, 1)
    return {"status": status, **bench.found, "left_out": bench.left_out, "seconds": seconds}


def _clear() -> None:
    """Give the device back what a part has left, compiled functions and the memory of one that failed included."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _write_table(path: Path, name: str, rows: list[str]) -> None:
    table = "\n".join([f"| {name} | |", "|---|---|", *rows, ""])
    with atomic.replacing(path) as temporary:
        temporary.write_text(table, encoding="utf-8")
