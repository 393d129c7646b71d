"""Training: a data set, a model and a recipe → a run directory."""

from __future__ import annotations

from fastsketch.training.engine import fit
from fastsketch.training.run import Run

__all__ = ["Run", "fit"]
