"""An evaluation as files: tables and pictures in the run directory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from fastsketch import atomic
from fastsketch.evaluation.metrics import ClassScores
from fastsketch.evaluation.mistakes import Mistake, sketches_of
from fastsketch.evaluation.result import Evaluation


def write_tables(evaluation: Evaluation) -> None:
    """The scores; a row a class, the worst recognised first and those without images last; a row a mistake."""
    subject = evaluation.subject
    found = {**evaluation.scores._asdict(), "calibration": evaluation.calibration._asdict()}
    atomic.write_json(subject.run.evaluation / f"{subject.name}.json", found)
    ordered = sorted(evaluation.classes, key=lambda each: (not each.images, each.images and each.accuracy, each.name))
    _write_table(evaluation.table, ClassScores, ordered)
    _write_table(evaluation.mistakes_table, Mistake, evaluation.mistakes)


def _write_table(path: Path, kind: type, rows: Iterable[ClassScores | Mistake]) -> None:
    """A row each; what is not known, such as the accuracy of a class without images, is an empty cell."""
    known = ({key: None if value != value else value for key, value in asdict(row).items()} for row in rows)
    atomic.write_csv(path, [field.name for field in fields(kind)], known)


def draw_pictures(evaluation: Evaluation) -> None:
    """The confusion matrix, the most confident mistakes, and accuracy over confidence."""
    from fastsketch.figures.confusion import plot_confusion
    from fastsketch.figures.mistakes import MOST, draw_mistakes

    subject, mistakes = evaluation.subject, evaluation.mistakes
    names, title = subject.dataset.classes, f"{subject.run.root.name}, {subject.split}"
    _draw_reliability(evaluation, title)
    top1 = f"{title}: top-1 {evaluation.scores.top1:.1%}"
    plot_confusion(evaluation.plot, evaluation.confusion, names, top1)
    most = f", the {MOST} most confident" if len(mistakes) > MOST else ""
    total = int(evaluation.confusion.sum())
    sketches = sketches_of(mistakes[:MOST], subject.folder, subject.dataset)
    draw_mistakes(evaluation.mistakes_plot, sketches, f"{title}: {len(mistakes):,} of {total:,} mistaken{most}")


def _draw_reliability(evaluation: Evaluation, title: str) -> None:
    from fastsketch.evaluation.calibration import BINS
    from fastsketch.figures.reliability import plot_reliability

    outputs, (temperature, before, after, _) = evaluation.outputs, evaluation.calibration
    curves = {}
    for name, divisor, error in (("as trained", 1.0, before), (f"temperature {temperature:.2f}", temperature, after)):
        predictions = outputs.predictions(divisor)
        right = (predictions.labels == outputs.labels).numpy()
        curves[f"{name}: {error:.1%} off"] = predictions.probabilities.numpy(), right
    plot_reliability(evaluation.reliability_plot, curves, f"{title}: how far to believe it", bins=BINS)
