"""`fastsketch sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, errors, plain

if TYPE_CHECKING:
    from fastsketch.sweeping.sweep import Outcome


def command(
    data: Annotated[Path, typer.Argument(help="A converted data set.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials, of all processes that share the storage.")] = 20,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name (see `recipes`) or a YAML file.")] = None,
    space: Annotated[
        Path | None, typer.Option(help="YAML: keys with their values. [default: learning rate, label smoothing]")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the sweep.")] = Path("runs/sweep"),
    storage: Annotated[str | None, typer.Option(help="URL of a data base. [default: SQLite in --out]")] = None,
    seed: Annotated[int, typer.Option(help="Of what is tried.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any key of all trials: training.epochs=5")] = None,
) -> None:
    """Train with many settings to find the best; the same command goes on where it was broken off."""
    from fastsketch.errors import ConfigError
    from fastsketch.recipes import load_recipe
    from fastsketch.sweeping.space import default_space, read_space
    from fastsketch.sweeping.sweep import best_outcome, require_optuna, sweep
    from fastsketch.training.checks import check_data

    require_optuna()
    resolved = load_recipe(recipe, set_ or (), data=data)
    if not resolved.training.epochs:
        raise ConfigError("training.epochs=0 leaves nothing to compare trials by", hint="leave it at 1 or more")
    if resolved.data.train_split != "train":
        raise ConfigError("data.train_split=train+val leaves nothing to compare trials by", hint="leave it at train")
    check_data(resolved)
    chosen = default_space(resolved) if space is None else read_space(space, resolved)
    try:
        found = sweep(resolved, chosen, out, trials, storage=storage, seed=seed, on_trial=_report)
    except KeyboardInterrupt:
        errors.print("the same command goes on")
        raise
    best = best_outcome(found)
    assert best is not None, "a trial ends with a score, or the sweep with an error"
    _write(out, found, best)


def _report(outcome: Outcome) -> None:
    settings = ", ".join(f"{key}={_short(value)}" for key, value in outcome.settings.items())
    top1 = "-" if outcome.top1 is None else f"{outcome.top1:.2%}"
    console.print(f"{outcome.run.name}: {top1}, {outcome.state} after {outcome.epochs} epochs; {plain(settings)}")


def _write(out: Path, found: list[Outcome], best: Outcome) -> None:
    """The table, the plots and the best recipe."""
    from rich.table import Table

    from fastsketch import atomic
    from fastsketch.figures.sweep import TriedPoint, plot_sweep
    from fastsketch.training.run.directory import Run

    keys = list(dict.fromkeys(key for each in found for key in each.settings))
    table = Table("trial", "top-1", "state", "epochs", *map(plain, keys), box=None, header_style="dim")
    ordered = sorted(found, key=lambda each: -(each.top1 or 0.0))
    for each in ordered[:10]:
        top1 = "-" if each.top1 is None else f"{each.top1:.2%}"
        values = (_short(each.settings.get(key, "")) for key in keys)
        table.add_row(each.run.name, top1, each.state, str(each.epochs), *values)
    console.print(table)
    rows = [
        {"trial": each.run.name, "top1": each.top1, "state": each.state, "epochs": each.epochs, **each.settings}
        for each in found
    ]
    atomic.write_csv(out / "trials.csv", ["trial", "top1", "state", "epochs", *keys], rows)
    points = [TriedPoint(each.settings, each.top1, each.state == "complete") for each in found if each.top1 is not None]
    plot_sweep(out / "sweep.png", points, f"{out.name}: {len(points)} trials, the best {best.top1:.2%}")
    Run(best.run).recipe().save(out / "best.yaml")
    console.print(
        f"[bold]{plain(out)}[/]: best val top-1 {best.top1:.2%} in {best.run.name}; its recipe in "
        f"{plain(out / 'best.yaml')}, all trials in trials.csv and sweep.png",
        soft_wrap=True,
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
