"""`fastsketch soup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, plain

if TYPE_CHECKING:
    from fastsketch.evaluation.soup import Ingredient


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories of one model and data set.")],
    out: Annotated[Path, typer.Option(help="The run directory to make.")],
    checkpoint: Annotated[str, typer.Option(help="best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, ...")] = "auto",
) -> None:
    """Average the weights of several runs, as far as that does not hurt on the validation images."""
    from fastsketch.evaluation.soup import make_soup

    soup = make_soup(runs, out, checkpoint=checkpoint, device=device, on_tried=_report)
    kept = sum(each.kept for each in soup.ingredients)
    gain = soup.top1 - soup.ingredients[0].top1
    console.print(
        f"[bold]{plain(out)}[/]: {kept} of {len(runs)} runs, val top-1 {soup.top1:.2%} ({gain:+.2%} against the best)",
        soft_wrap=True,
    )


def _report(tried: Ingredient) -> None:
    verdict = "kept" if tried.kept else "left out"
    console.print(
        f"{plain(tried.run)}: {tried.top1:.2%} alone, the soup with it {tried.with_it:.2%}, {verdict}", soft_wrap=True
    )
