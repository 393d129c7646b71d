"""`fastsketch evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import NAME, console, plain

if TYPE_CHECKING:
    from fastsketch.evaluation import Evaluation
    from fastsketch.training.validation import Scores

WORST_CLASSES = 5


def command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, several also together; or exported files.")
    ],
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
    """Evaluate a trained model: top-1, top-5, classes, confusion, all mistakes, and how far to believe it."""
    settings: dict[str, Any] = {
        "checkpoint": checkpoint,
        "data": data,
        "device": device,
        "flip": flip,
        "tokens": tokens,
        "verify": verify,
    }
    from fastsketch.inference.saved import EXPORTED

    if any(each.suffix in EXPORTED for each in runs):
        _evaluate_exported(runs, split, data)
    elif len(runs) == 1:
        evaluate_and_report(runs[0], split, **settings)
    else:
        _evaluate_together(runs, split, settings)


def evaluate_and_report(root: Path, split: str, **settings: Any) -> Evaluation:
    """Evaluate, and print the scores and the classes that are recognised worst."""
    from rich.table import Table

    from fastsketch.evaluation import evaluate_run

    result = evaluate_run(root, split, **settings)
    _print_scores(root, split, result.scores)
    temperature, before, after, fitted = result.calibration
    if not fitted and temperature == 1:
        how = ", without a temperature"
    else:
        found = "saved with the model" if fitted else "which the model has"
        how = f" with temperature {temperature:.2f}, {found} ({before:.2%} without)"
    console.print(f"expected calibration error {after:.2%}{how}", soft_wrap=True)
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
        ("reliability", result.reliability_plot),
    ):
        console.print(f"{name + ':':<14}{plain(path)}", soft_wrap=True)
    return result


def _evaluate_together(roots: list[Path], split: str, settings: dict[str, Any]) -> None:
    """Evaluate several runs, each alone and all together."""
    from rich.table import Table

    from fastsketch.evaluation.ensemble import evaluate_ensemble

    members, scores = evaluate_ensemble(roots, split, **settings)
    table = Table(plain(split), "top-1", "top-5", "loss", box=None, header_style="dim")
    for root, each in zip(roots, (member.scores for member in members), strict=True):
        table.add_row(plain(root, NAME), f"{each.top1:.2%}", f"{each.top5:.2%}", f"{each.loss:.4f}")
    cells = (f"[bold]{cell}[/]" for cell in (f"{scores.top1:.2%}", f"{scores.top5:.2%}", f"{scores.loss:.4f}"))
    table.add_row(f"[bold]all {len(roots)} together[/]", *cells)
    console.print(table)


def _evaluate_exported(files: list[Path], split: str, data: Path | None) -> None:
    """Score exported files."""
    from fastsketch.evaluation.exported import evaluate_exported

    for file in files:
        _print_scores(file, split, evaluate_exported(file, data, split))


def _print_scores(path: Path, split: str, scores: Scores) -> None:
    console.print(
        f"[bold]{plain(path)}[/], {split}: top-1 {scores.top1:.2%}, top-5 {scores.top5:.2%}, loss {scores.loss:.4f}",
        soft_wrap=True,
    )
