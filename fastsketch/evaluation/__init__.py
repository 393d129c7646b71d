"""Evaluation: what a run has learned, as numbers, tables and pictures."""

from __future__ import annotations

from fastsketch.evaluation.evaluate import Evaluation, evaluate_run

__all__ = ["Evaluation", "evaluate_run"]
