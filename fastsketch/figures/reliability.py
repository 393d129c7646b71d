"""How often a model is right, by how sure it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fastsketch.figures.picture import plain_letters, save_figure

COLORS = {"before": "0.6", "after": "#1f6fb2"}


@plain_letters()
def plot_reliability(
    path: Path,
    curves: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    title: str,
    *,
    bins: int,
) -> None:
    """Draw accuracy over confidence, and how many sketches there are of each confidence.

    Args:
        path: Replaced if it is there.
        curves: By name, at most two: confidences float [N] in [0, 1], and whether each was right, bool [N].
        title: Above all.
        bins: Of equal width.
    """
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, bins + 1)
    upper.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
    for (name, (confidences, right)), color in zip(curves.items(), COLORS.values(), strict=False):
        places = np.clip(np.digitize(confidences, edges) - 1, 0, bins - 1)
        counts = np.bincount(places, minlength=bins)
        held = counts > 0
        accuracy = np.bincount(places, right, minlength=bins)[held] / counts[held]
        confidence = np.bincount(places, confidences, minlength=bins)[held] / counts[held]
        upper.plot(confidence, accuracy, marker="o", markersize=4, color=color, label=name)
        lower.stairs(counts, edges, color=color, fill=name == list(curves)[-1], alpha=0.8)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right", title=title)
    upper.legend(frameon=False, loc="upper left")
    lower.set(xlabel="probability of the likeliest class", ylabel="sketches")
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    upper.title.set_fontsize(10)
    save_figure(figure, path)
