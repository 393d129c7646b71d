"""Evaluation: what a run has learned, as numbers, tables and pictures."""

from __future__ import annotations

from fastsketch.evaluation.evaluate import evaluate_run
from fastsketch.evaluation.result import Evaluation

__all__ = ["Evaluation", "evaluate_run"]
