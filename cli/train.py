"""`fastsketch train`."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, errors, plain, progress_bar
from .process import Terminated, leads
from .tune import tune_and_report

if TYPE_CHECKING:
    from rich.progress import Progress

    from fastsketch.config import Recipe
    from fastsketch.training.run.directory import Run
    from fastsketch.training.run.metrics import EpochRecord


def command(
    data: Annotated[Path | None, typer.Argument(help="A converted data set.")] = None,
    model: Annotated[str | None, typer.Option(help="vit_small, vit_base, resnet50, ... or any timm name.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name (see `recipes`) or a YAML file.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="PATH", help="The run directory. [default: runs/DATA-MODEL-TIME]")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Local .safetensors or .pth file of tensors.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Fetch timm's weights from the hub.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Weights, order, augmentation and dropout follow from it.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps, ...")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any other key: optimizer.lr=3e-4")] = None,
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
    from fastsketch.recipes import load_recipe
    from fastsketch.training.checks import check_data
    from fastsketch.training.run.directory import Run

    if resume is not None and (recipe or out is not None):
        raise ConfigError(
            f"--resume goes on with the recipe and the folder of {resume}",
            hint="leave out --recipe and --out; keys that may change can be changed with --set",
        )
    if out is not None and not out.strip():
        raise ConfigError("--out is empty", hint="name the run directory, or leave --out out")
    resolved = load_recipe(
        recipe if resume is None else str(Run.open(resume).config),
        set_ or (),
        data__verify=verify,
        data__path=data and str(data),
        model__name=model,
        model__weights=weights and str(weights),
        model__pretrained=pretrained or None,
        training__epochs=epochs,
        training__seed=seed,
        training__device=device,
        training__max_minutes=max_minutes,
    )
    if resolved.data.path is None:
        raise ConfigError("no data set given", hint="fastsketch train DATA, where DATA is a converted data set")
    check_data(resolved)  # before torch is imported
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    named = resume or (Path(out) if out is not None else None)
    run = Run(named or Path("runs", f"{resolved.data.path.resolve().name}-{resolved.model.name}-{stamp}"))
    continued = named is not None and run.begun
    if os.environ.get("WORLD_SIZE", "1") == "1":
        with run.held(resume=continued):
            pass  # what cannot be written is told now, not after the import
    if tune:
        tune_and_report(resolved)
    train_and_report(resolved, run, resume=continued)


def train_and_report(recipe: Recipe, run: Run, *, resume: bool = False) -> list[EpochRecord]:
    """Train with a progress bar and a line an epoch, and plot the curves."""
    from fastsketch.training.execution.distributed import RefusedElsewhere
    from fastsketch.training.run.stop import Interrupted

    if leads():
        console.print(f"[dim]run directory: {plain(run.root)}[/]", soft_wrap=True)
    try:
        records = _train(recipe, run, resume)
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
    if records and leads():
        _report(recipe, run, records)
    return records


def _train(recipe: Recipe, run: Run, resume: bool) -> list[EpochRecord]:
    from fastsketch.training.fit import fit

    with _shown(progress_bar()) as bar:
        task = bar.add_task("training", total=None, note="")

        def on_step(epoch: int, step: int, steps: int) -> None:
            bar.update(task, description=f"epoch {epoch}", completed=step, total=steps)

        shown: list[EpochRecord] = []
        say = _while_somebody_reads()

        def on_epoch(record: EpochRecord) -> None:
            if not shown:
                say("epoch  train loss  val loss   top-1   top-5  images/s", style="dim")
            shown.append(record)
            val = f"{'-':>8}  {'-':>6}  {'-':>6}"
            if record.val_loss is not None:
                val = f"{record.val_loss:8.4f}  {record.val_top1:6.2%}  {record.val_top5:6.2%}"
            say(f"{record.epoch:5d}  {record.train_loss:10.4f}  {val}  {record.images_per_second:8,.0f}")

        return fit(recipe, run, resume=resume, on_step=on_step, on_epoch=on_epoch)


@contextmanager
def _shown(bar: Progress) -> Iterator[Progress]:
    """Show it; that its terminal is gone hides no other end of the training."""
    bar.start()
    try:
        yield bar
    finally:
        with suppress(OSError):
            bar.stop()


def _while_somebody_reads() -> Callable[..., None]:
    """A `console.print` that falls silent where a terminal or pipe is gone: no training ends because of that."""
    gone = False

    def say(text: str, style: str | None = None) -> None:
        nonlocal gone
        if not gone:
            try:
                console.print(text, style=style)
            except OSError:
                gone = True

    return say


def _report(recipe: Recipe, run: Run, records: list[EpochRecord]) -> None:
    from fastsketch.figures.curves import plot_curves
    from fastsketch.training.run.saving import saving

    curves = run.plots / "curves.png"
    with saving(curves):
        run.plots.mkdir(exist_ok=True)
        plot_curves(curves, records, title=f"{run.root.name}: {recipe.model.name}")
    console.print(
        f"[bold]{plain(run.root)}[/]: {_best(records)}; model in {plain(run.best)}, curves in {plain(curves)}",
        soft_wrap=True,
    )


def _best(records: list[EpochRecord]) -> str:
    """What the run reached."""
    from fastsketch.training.run.metrics import best_record

    best = best_record(records)
    if best is None:
        return f"{len(records)} epochs, without validation"
    return f"best val top-1 {best.val_top1:.2%} in epoch {best.epoch}"
