"""Pictures of timings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastsketch import atomic

from .common import Timing


def plot_speeds(path: Path, timings: Sequence[Timing], title: str) -> None:
    """Images a second of each contender as bars, ours in colour, with the range over all rounds."""
    plot_panels(path, {title: timings})


def plot_panels(path: Path, panels: Mapping[str, Sequence[Timing]]) -> None:
    """`plot_speeds` of several tables, one below the other, by their titles."""
    rows = [len(timings) + 2 for timings in panels.values()]
    figure = Figure(figsize=(9, 0.42 * sum(rows) + 0.46), layout="constrained")
    grid = figure.subplots(len(panels), squeeze=False, height_ratios=rows)[:, 0]
    for axes, (title, timings) in zip(grid, panels.items(), strict=True):
        _bars(axes, timings)
        axes.set(title=title, xlabel="images/s")
    save_figure(path, figure, dpi=150)


def save_figure(path: Path, figure: Figure, dpi: int = 130) -> None:
    """Write a figure, its axes without a frame above and on the right."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def _bars(axes: Axes, timings: Sequence[Timing]) -> None:
    ordered = sorted(timings, key=lambda timing: timing.images_per_second)
    speeds = [timing.images_per_second for timing in ordered]
    # Images a second at the fastest and at the slowest round.
    fastest = [timing.images_per_second * (timing.median / timing.minimum - 1) for timing in ordered]
    slowest = [timing.images_per_second * (1 - timing.median / timing.maximum) for timing in ordered]
    colors = ["C0" if timing.name.startswith("fastsketch") else "0.7" for timing in ordered]
    names = [timing.name for timing in ordered]
    bars = axes.barh(names, speeds, xerr=(slowest, fastest), color=colors, ecolor="0.3", capsize=3)
    axes.bar_label(bars, [f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}" for speed in speeds], padding=8)
    if max(speeds) > 20 * min(speeds):
        axes.set_xscale("log")
        axes.set_xlim(min(speeds) / 3, max(speeds) * 6)
    else:
        axes.margins(x=0.15)
