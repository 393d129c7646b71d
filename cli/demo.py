"""`fastsketch demo`: draws a data set, then does what a user would do with it."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, plain, progress_bar, screen
from .evaluate import evaluate_and_report
from .train import train_and_report

if TYPE_CHECKING:
    from fastsketch.training.run.directory import Run

DRAWINGS = {"train": 40, "val": 10, "test": 10}
"""Drawings a class."""

MARK = ".fastsketch-demo"
"""A file in the folder that says what it is: only then is anything replaced there."""

WRITTEN = {".csv", ".json", ".png", ".safetensors"}
"""What is deleted in a run's folders of models, tables and pictures."""

SOURCE_SIZE = 1111
"""Pixels: as large as TU-Berlin's sketches."""

SIZE = 64
"""Pixels of the converted images: enough for figures of a few strokes, and quick on a CPU."""


def command(
    folder: Annotated[Path, typer.Argument(help="Where everything goes.")] = Path("demo"),
) -> None:
    """Draw sketches, convert them, train a small model on them, evaluate it: a few minutes on two CPU cores."""
    from rich.table import Table

    from fastsketch.config import ConvertConfig
    from fastsketch.demo.dataset import DRAWN_CLASSES
    from fastsketch.recipes import load_recipe
    from fastsketch.shown import convert_shown
    from fastsketch.training.run.directory import Run
    from fastsketch.training.run.metrics import best_record

    _claim(folder)
    sketches, dataset, run = folder / "sketches", folder / "dataset", Run(folder / "run")
    _discard(run)

    drawings = len(DRAWN_CLASSES) * sum(DRAWINGS.values())
    console.print(f"[dim]drawing {drawings:,} sketches of {len(DRAWN_CLASSES)} classes into {plain(sketches)}[/]")
    drawing = _draw(sketches)

    console.print(f"[dim]$ fastsketch convert {plain(sketches)} {plain(dataset)} --size {SIZE} --overwrite[/]")
    started = perf_counter()
    convert_shown(sketches, dataset, ConvertConfig(size=SIZE, overwrite=True), screen())
    converting = perf_counter() - started

    console.print(f"[dim]$ fastsketch train {plain(dataset)} --recipe demo --out {plain(run.root)}[/]")
    records = train_and_report(load_recipe("demo", data__path=str(dataset)), run)

    console.print(f"[dim]$ fastsketch evaluate {plain(run.root)} --split test[/]")
    started = perf_counter()
    evaluation = evaluate_and_report(run.root, "test")
    evaluating = perf_counter() - started

    best = best_record(records)
    assert best is not None, "the demo validates"
    tested = sum(each.images for each in evaluation.classes)
    table = Table("stage", "top-1", "top-5", "images/s", "seconds", title="fastsketch demo", title_justify="left")
    table.add_row("draw", "", "", f"{drawings / drawing:,.0f}", f"{drawing:.0f}")
    table.add_row("convert", "", "", f"{drawings / converting:,.0f}", f"{converting:.0f}")
    table.add_row(
        f"train ({len(records)} epochs)",
        f"{best.val_top1:.1%} val",
        f"{best.val_top5:.1%}",
        f"{max(record.images_per_second for record in records):,.0f}",
        f"{sum(record.seconds for record in records):.0f}",
    )
    table.add_row(
        "evaluate",
        f"{evaluation.scores.top1:.1%} test",
        f"{evaluation.scores.top5:.1%}",
        f"{tested / evaluating:,.0f}",
        f"{evaluating:.0f}",
    )
    console.print(table)
    console.print("to look at:")
    for path in (run.plots / "curves.png", evaluation.plot, evaluation.mistakes_plot, evaluation.table):
        console.print(f"  {plain(path)}", soft_wrap=True)


def _claim(folder: Path) -> None:
    """Make sure that what the demo replaces in `folder` is a demo's."""
    from fastsketch.errors import ConfigError

    if folder.exists() and not (folder.is_dir() and ((folder / MARK).is_file() or not any(folder.iterdir()))):
        raise ConfigError(
            f"{folder} is there already, and not from a demo", hint="fastsketch demo FOLDER, which is new or empty"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _discard(run: Run) -> None:
    """Delete what the run of an earlier demo wrote. What else is there stays; if it is in the way, `train` says so.

    Raises:
        FastSketchError: Another process trains there.
    """
    from fastsketch import atomic
    from fastsketch.formats.metadata import FILE_NAME
    from fastsketch.locks import exclusive

    if not run.root.is_dir() or run.root.is_symlink():
        return
    with exclusive(run.root, hint="wait until that demo is done, or choose another folder"):
        folders = [folder for folder in (run.last, run.best, run.evaluation, run.plots) if not folder.is_symlink()]
        for folder in filter(Path.is_dir, folders):
            atomic.sweep(folder)
            for path in folder.iterdir():
                if path.suffix in WRITTEN and path.is_file():
                    path.unlink()
        ours = (run.record, run.metrics, run.metrics.with_suffix(".csv"), run.root / FILE_NAME)
        for path in (*ours, run.previous_resume_path, run.resume_path, run.config):
            path.unlink(missing_ok=True)


def _draw(sketches: Path) -> float:
    """Draw what is not there yet; return the seconds it took."""
    from fastsketch.demo.dataset import draw_dataset
    from fastsketch.workers import available_cpus

    started = perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("drawing", total=None, note="")
        draw_dataset(
            sketches,
            counts=DRAWINGS,
            size=SOURCE_SIZE,
            workers=available_cpus(),
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return perf_counter() - started
