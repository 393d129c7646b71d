"""`fastsketch train`."""

from __future__ import annotations

import shlex
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import errors, plain, screen
from .process import Terminated, leads
from .tune import tune_and_report

if TYPE_CHECKING:
    from fastsketch.config import Recipe
    from fastsketch.training.run.directory import Run
    from fastsketch.training.run.metrics import EpochRecord


def command(
    data: Annotated[Path | None, typer.Argument(help="A converted data set, here or at a URL.")] = None,
    model: Annotated[str | None, typer.Option(help="vit_small, vit_base, resnet50, ... or any timm name.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name (see `recipes`) or a YAML file.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="The run directory. [default: runs/DATA-MODEL-TIME]")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Local .safetensors or .pth file of tensors.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Fetch timm's weights from the hub.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Training images a step.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Train at so many pixels, the data set's at the most. [default: the data set's]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Weights, order, augmentation and dropout follow from it.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any other key (see `recipes --keys`): augment.thickness=0.2")
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option("--verify/--no-verify", help="Compare all data with their checksums. [default: verify]"),
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop in time, saved, to be resumed later.")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="First find the fastest way on this device.")] = False,
    resume: Annotated[
        Path | None, typer.Option(help="Continue this run directory; DATA, --epochs and the like may change.")
    ] = None,
) -> None:
    """Train a model on a converted data set; the same command on the same --out continues a run that was broken off.

    Under torchrun (torchrun --nproc-per-node 2 -m fastsketch train ...) the processes share each batch.
    """
    from fastsketch.errors import ConfigError
    from fastsketch.training.prepare import prepare

    if resume is not None and (recipe or out is not None):
        raise ConfigError(
            f"--resume goes on with the recipe and the folder of {resume}",
            hint="leave out --recipe and --out; keys that may change can be changed with --set",
        )
    prepared = prepare(
        recipe,
        set_ or (),
        out=out if resume is None else resume,
        resume="auto" if resume is None else True,
        data=data,
        model=model,
        weights=weights,
        pretrained=pretrained or None,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        device=device,
        verify=verify,
        max_minutes=max_minutes,
    )
    if tune:
        tune_and_report(prepared.recipe)
    train_and_report(prepared.recipe, prepared.run, resume=prepared.resume)


def train_and_report(recipe: Recipe, run: Run, *, resume: bool = False) -> list[EpochRecord]:
    """Train, and say of whatever ends it how to go on."""
    from fastsketch.shown import train_shown
    from fastsketch.training.execution.distributed import RefusedElsewhere
    from fastsketch.training.run.stop import Interrupted

    try:
        return train_shown(recipe, run, screen(), resume=resume)
    except Interrupted as stop:
        if leads() and run.begun:
            with suppress(OSError):  # where the terminal is gone
                errors.print(
                    f"continue with: fastsketch train --resume {plain(shlex.quote(str(run.root)))}", soft_wrap=True
                )
        if stop.signal != signal.SIGINT:
            raise Terminated from stop
        raise
    except RefusedElsewhere as refusal:  # told by the first process
        raise typer.Exit(refusal.exit_code) from refusal
