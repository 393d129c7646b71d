"""`fastsketch bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import console, plain

SHARED = (
    *("ceilings", "common", "cubins", "drawings", "epochs", "gpu_bench", "gpu_parts", "gpu_training"),
    *("ink_pretraining", "ink_study", "loops", "lowered", "lowered_step", "originals", "plots", "pretended", "rivals"),
    *("sixty_lines", "steps", "studies", "traced", "watch"),
)
"""Modules beside the benchmarks that are none."""


def command(
    name: Annotated[str, typer.Argument(help="Which benchmark; `list` lists them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path(),
    quick: Annotated[
        bool, typer.Option("--quick", help="Few rounds: to see that it runs, not for its figures.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Of `gpu`: another than the GPU, to see that it runs.")] = None,
) -> None:
    """Run one of the benchmarks; its figures are worth what the machine is worth that is otherwise idle."""
    import importlib
    import pkgutil

    from fastsketch.errors import ConfigError

    package = importlib.import_module("fastsketch_benchmarks")
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__) if found.name not in SHARED)
    if name == "list":
        console.print("\n".join(names))
        return
    if name not in names:
        raise ConfigError(f"no benchmark '{name}'", hint=f"there are: {', '.join(names)}")
    if device is not None and name != "gpu":
        raise ConfigError(f"benchmark '{name}' chooses its device itself", hint="leave --device out")
    settings = {} if device is None else {"device": device}
    out.mkdir(parents=True, exist_ok=True)  # what fails here would fail after minutes
    benchmark = importlib.import_module(f"fastsketch_benchmarks.{name}")
    console.print(f"results: {plain(benchmark.run(out, quick=quick, **settings))}", soft_wrap=True)
