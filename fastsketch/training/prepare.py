"""What a training is going to do, where, and whether it goes on: all that is decided before torch is imported."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.recipes import load_recipe
from fastsketch.training.checks import check_data
from fastsketch.training.progressive_resize import final_size
from fastsketch.training.run.directory import Run
from fastsketch.urls import url_of

Resume = bool | Literal["auto"]


class Prepared(NamedTuple):
    """The arguments of `fit`.

    Attributes:
        recipe: The whole configuration.
        run: Where everything goes.
        resume: Whether the run is begun, and is continued.
    """

    recipe: Recipe
    run: Run
    resume: bool


def prepare(
    recipe: str | Path | Recipe | None = None,
    overrides: Iterable[str] = (),
    *,
    out: str | Path | None = None,
    resume: Resume = "auto",
    **settings: object,
) -> Prepared:
    """Resolve what is to be trained, and refuse what can be refused early.

    Args:
        recipe: As `load_recipe` takes it. None is that of the run where `resume` is true, else the defaults.
        overrides: Likewise.
        out: The run directory; by default a new one, `runs/DATA-MODEL-TIME`.
        resume: `auto` continues what is begun in `out`; true needs something that is, false must not find anything.
        settings: Of `load_recipe`.

    Raises:
        ConfigError: The recipe, the data set or the directory cannot be meant.
        DataError: The metadata of the data set are damaged.
        FastSketchError: Another process trains in `out`.
    """
    try:
        return _prepared(recipe, overrides, out, resume, **settings)
    except FastSketchError:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        from fastsketch.training.execution.distributed import World  # the others, of other machines, import torch, too

        with World.of_environment().refusing():
            raise


def _prepared(
    recipe: str | Path | Recipe | None,
    overrides: Iterable[str],
    out: str | Path | None,
    resume: Resume,
    **settings: object,
) -> Prepared:
    if out is not None and not str(out).strip():
        raise ConfigError("--out is empty", hint="name the run directory, or leave --out out")
    if resume is True:
        if out is None:
            raise ConfigError("which run is to be continued?", hint="name its directory with --out")
        recipe = Run.open(out).config if recipe is None else recipe
    if out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        raise ConfigError(
            "torchrun --max-restarts needs --out: the default is another directory at each start",
            hint="name the run directory with --out, and a restart continues the run",
        )
    resolved = load_recipe(recipe, overrides, **settings)
    run = None if out is None else Run(out)
    data, begun = resolved.data.path, run is not None and run.begun
    if begun and resume is not False and data is not None and url_of(data) is None and not data.exists():
        raise ConfigError(
            f"{data}, the data set of {out}, is not there",
            hint=f"say where it is: fastsketch train DATA --resume {out}",
        )
    dataset = check_data(resolved)
    final_size(resolved.training.image_sizes, dataset.size)
    run = run or _new_run(resolved)
    continued = begun if resume == "auto" else resume
    if os.environ.get("WORLD_SIZE", "1") == "1":
        with run.held(resume=continued):
            pass  # what cannot be written is told now, not after the import
    return Prepared(resolved, run, continued)


def _new_run(recipe: Recipe) -> Run:
    data = recipe.data.path
    assert data is not None, "check_data has seen it"
    return Run(Path("runs", f"{data.resolve().name}-{recipe.model.name}-{datetime.now():%Y%m%d-%H%M%S}"))
