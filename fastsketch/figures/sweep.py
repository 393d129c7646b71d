"""What a sweep has found: how good its trials were, and by which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fastsketch.figures.picture import caption, plain_letters, save_figure

MOST_PANELS = 8
"""So many settings are drawn."""

LOGARITHMIC = 20.0
"""Of a setting whose largest value is so many times the smallest, orders of magnitude are drawn."""

FULL, GIVEN_UP = "#1f6fb2", "0.7"


class TriedPoint(NamedTuple):
    """One trial: its settings, its top-1 in [0, 1], and whether it was trained to its end."""

    settings: Mapping[str, Any]
    top1: float
    complete: bool


@plain_letters()
def plot_sweep(path: Path, trials: Sequence[TriedPoint], title: str) -> None:
    """Draw top-1 over the trials with the best so far, and over each setting.

    Args:
        path: Replaced if it is there.
        trials: In the order in which they began, one at least.
        title: Above all.
    """
    keys = list(dict.fromkeys(key for trial in trials for key in trial.settings))[:MOST_PANELS]
    columns = min(1 + len(keys), 3)
    rows = -(-(1 + len(keys)) // columns)
    figure = Figure(figsize=(4 * columns, 3.2 * rows), layout="constrained")
    figure.suptitle(caption(title, 80), fontsize=10)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    _history(panels[0], trials)
    for axes, key in zip(panels[1:], keys, strict=False):
        _over(axes, trials, key)
    for axes in panels[1 + len(keys) :]:
        axes.set_axis_off()
    for axes in panels[: 1 + len(keys)]:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=130)


def _history(axes: Axes, trials: Sequence[TriedPoint]) -> None:
    numbers = range(1, len(trials) + 1)
    axes.step(numbers, np.maximum.accumulate([trial.top1 for trial in trials]), where="post", color="0.3", linewidth=1)
    for complete, name in ((True, "trained to the end"), (False, "given up")):
        chosen = [
            (number, trial.top1) for number, trial in zip(numbers, trials, strict=True) if trial.complete == complete
        ]
        if chosen:
            places, heights = zip(*chosen, strict=True)
            axes.scatter(places, heights, s=22, color=FULL if complete else GIVEN_UP, label=name, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="best val top-1")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))  # over no point


def _over(axes: Axes, trials: Sequence[TriedPoint], key: str) -> None:
    held = [trial for trial in trials if key in trial.settings]
    values = [trial.settings[key] for trial in held]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if min(values) > 0 and max(values) / min(values) >= LOGARITHMIC:
            axes.set_xscale("log")
    else:
        values = [str(value) for value in values]
    axes.scatter(values, [trial.top1 for trial in held], s=22, c=[FULL if each.complete else GIVEN_UP for each in held])
    axes.set_xlabel(caption(key, 40))
