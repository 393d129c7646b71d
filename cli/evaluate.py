"""`fastsketch evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import NAME, console, plain

if TYPE_CHECKING:
    from fastsketch.evaluation import Evaluation

WORST_CLASSES = 5


def command(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    data: Annotated[Path | None, typer.Option(help="The data set, if it has moved since training, or another.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
    flip: Annotated[
        bool | None, typer.Option("--flip/--no-flip", help="Average with the mirror image; else as the recipe.")
    ] = None,
    tokens: Annotated[
        str | None, typer.Option(help="Patches that a transformer sees, all or a number; else as the recipe.")
    ] = None,
    verify: Annotated[
        bool | None,
        typer.Option("--verify/--no-verify", help="Compare the split with its checksums; else as the recipe."),
    ] = None,
) -> None:
    """Evaluate a trained model: top-1, top-5, a table of classes, a confusion matrix, all mistakes."""
    evaluate_and_report(
        run, split, checkpoint=checkpoint, data=data, device=device, flip=flip, tokens=tokens, verify=verify
    )


def evaluate_and_report(
    root: Path,
    split: str,
    *,
    checkpoint: str = "best",
    data: Path | None = None,
    device: str = "auto",
    flip: bool | None = None,
    tokens: str | None = None,
    verify: bool | None = None,
) -> Evaluation:
    """Evaluate, and print the scores and the classes that are recognised worst."""
    from rich.table import Table

    from fastsketch.evaluation import evaluate_run

    result = evaluate_run(
        root, split, checkpoint=checkpoint, data=data, device=device, flip=flip, tokens=tokens, verify=verify
    )
    scores = result.scores
    console.print(
        f"[bold]{plain(root)}[/], {split}: top-1 {scores.top1:.2%}, top-5 {scores.top5:.2%}, loss {scores.loss:.4f}",
        soft_wrap=True,
    )
    if not result.subject.own:
        console.print(f"another data set than the run was trained on: {plain(result.subject.folder)}", soft_wrap=True)
    table = Table("class", "images", "accuracy", "most often taken for", box=None, header_style="dim")
    worst = sorted((each for each in result.classes if each.images), key=lambda each: each.accuracy)
    for each in worst[:WORST_CLASSES]:
        table.add_row(plain(each.name, NAME), str(each.images), f"{each.accuracy:.0%}", plain(each.confused_with, NAME))
    console.print(table)
    for name, path in (
        ("all classes", result.table),
        ("confusion", result.plot),
        ("mistakes", result.mistakes_table),
        ("most certain", result.mistakes_plot),
    ):
        console.print(f"{name + ':':<14}{plain(path)}", soft_wrap=True)
    return result
