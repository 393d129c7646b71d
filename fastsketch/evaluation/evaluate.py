"""A run and a split → top-1, top-5, a table of classes and a confusion matrix."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastsketch import atomic
from fastsketch.evaluation.metrics import ClassScores, class_scores
from fastsketch.evaluation.subject import Subject
from fastsketch.training.run.directory import Run

if TYPE_CHECKING:
    from fastsketch.training.validation import Scores


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate_run` found, and the files that it wrote.

    Attributes:
        subject: What was evaluated.
        scores: Loss, top-1 and top-5 of the whole split.
        classes: Each class, in label order.
        confusion: int64 [C, C], true classes in rows.
        table: CSV with a row a class.
        plot: Picture of the confusion matrix.
    """

    subject: Subject
    scores: Scores
    classes: list[ClassScores]
    confusion: npt.NDArray[np.int64]
    table: Path
    plot: Path


def evaluate_run(
    run: Run,
    split: str,
    *,
    checkpoint: str = "best",
    data: Path | None = None,
    device: str = "auto",
    flip: bool | None = None,
    tokens: int | str | None = None,
    verify: bool | None = None,
) -> Evaluation:
    """Evaluate a run's saved model; on the machine that trained it the numbers are those that training printed.

    Args:
        run: An existing run.
        split: Name of the split.
        checkpoint: `best` or `last`.
        data: The data set, if it is not where it was in training, or another with the same classes: what is written
            has the name of that one then, and takes the place of nothing that the run's own data set led to.
        device: Where to compute.
        flip: Average the class probabilities of each image and its mirror image; None is what the recipe says.
        tokens: Patches of each image that a vision transformer sees, a number or `all`; None is what the recipe says.
        verify: Compare every byte of the split with its checksum; None is what the recipe says.

    Raises:
        ConfigError: There is no such run, model, data set or split, the data set's classes or size are not the run's,
            or the model has no such number of patches. All but the last shows before torch is imported.
        DataError: The model or the data set is damaged.
    """
    subject = Subject.of(run, split, checkpoint, data, flip, tokens)

    from fastsketch.evaluation.measure import measure  # here torch begins
    from fastsketch.figures.curves import plot_confusion

    scores, confusion = measure(subject, device, subject.recipe.data.verify if verify is None else verify)
    classes = class_scores(confusion, subject.dataset.classes)
    table, plot = run.evaluation / f"{subject.name}-classes.csv", run.plots / f"confusion-{subject.name}.png"
    for path in (table, plot):
        path.parent.mkdir(exist_ok=True)
    atomic.write_json(run.evaluation / f"{subject.name}.json", scores._asdict())
    _write_table(table, classes)
    plot_confusion(plot, confusion, subject.dataset.classes, f"{run.root.name}, {split}: top-1 {scores.top1:.1%}")
    return Evaluation(subject, scores, classes, confusion, table, plot)


def _write_table(path: Path, classes: list[ClassScores]) -> None:
    """A row a class, the worst recognised first."""
    ordered = sorted(classes, key=lambda each: (each.accuracy, each.name))
    atomic.write_csv(path, [field.name for field in fields(ClassScores)], (asdict(each) for each in ordered))
