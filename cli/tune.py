"""`fastsketch tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console

if TYPE_CHECKING:
    from fastsketch.config import Recipe


def command(
    data: Annotated[Path, typer.Argument(help="A converted data set.")],
    model: Annotated[str | None, typer.Option(help="vit_small, vit_base, resnet50, ... or any timm name.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name (see `recipes`) or a YAML file.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Training images a step.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels that the images are trained at.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any key of `recipes --keys`: augment.flip=0")] = None,
) -> None:
    """Time the ways to train a model on this device; `train` uses the fastest from then on."""
    from fastsketch.recipes import load_recipe

    common = {"model": model, "batch_size": batch_size, "image_size": image_size, "device": device}
    tune_and_report(load_recipe(recipe, set_ or (), data=data, **common))


def tune_and_report(recipe: Recipe) -> None:
    """Print a line a way to run, and the winner."""
    from fastsketch.errors import ConfigError
    from fastsketch.formats.metadata import DatasetMetadata

    if recipe.data.path is None:
        raise ConfigError("no data set given", hint="fastsketch tune DATA, where DATA is a converted data set")
    dataset = DatasetMetadata.load(recipe.data.path)

    from fastsketch.training.autotune import Trial, autotune  # here torch begins

    console.print("ms a step  images/s  memory   way to run", style="dim")

    def on_trial(trial: Trial) -> None:
        memory = "-" if trial.memory is None else f"{trial.memory / 2**30:.1f} G"
        if trial.seconds is None:
            figures = f"{'-':>9}  {'-':>8}  {'-':>6}   {trial.execution}: {trial.problem}"
        else:
            speed = recipe.data.batch_size / trial.seconds
            figures = f"{1e3 * trial.seconds:9.1f}  {speed:8,.0f}  {memory:>6}   {trial.execution}"
        console.print(figures, markup=False, soft_wrap=True)

    best = autotune(recipe, dataset, on_trial=on_trial)
    console.print(f"[bold]best[/]: {best.execution}; `train` uses it where the recipe says auto", soft_wrap=True)
