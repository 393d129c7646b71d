"""A run and a split → top-1, top-5, a table of classes, a confusion matrix and all mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastsketch import atomic
from fastsketch.evaluation.metrics import ClassScores, class_scores
from fastsketch.evaluation.mistakes import Mistake, find_mistakes, sketches_of
from fastsketch.evaluation.subject import Subject
from fastsketch.training.run.directory import Run

if TYPE_CHECKING:
    from fastsketch.training.validation import Scores


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """What `evaluate_run` found, and the files that it wrote.

    Attributes:
        subject: What was evaluated.
        scores: Loss, top-1 and top-5 of the whole split.
        classes: Each class, in label order.
        confusion: int64 [C, C], true classes in rows.
        mistakes: All of them, the most confident first.
        table: CSV with a row a class.
        plot: Picture of the confusion matrix.
        mistakes_table: CSV with a row a mistake.
        mistakes_plot: Picture of the most confident mistakes.
    """

    subject: Subject
    scores: Scores
    classes: list[ClassScores]
    confusion: npt.NDArray[np.int64]
    mistakes: list[Mistake]
    table: Path
    plot: Path
    mistakes_table: Path
    mistakes_plot: Path

    def __repr__(self) -> str:
        scores, of = self.scores, f"{str(self.subject.run.root)!r}, {self.subject.split}"
        return f"Evaluation({of}: top-1 {scores.top1:.2%}, top-5 {scores.top5:.2%})"


def evaluate_run(
    run: Run | str | Path,
    split: str = "val",
    *,
    checkpoint: str = "best",
    data: str | Path | None = None,
    device: str = "auto",
    flip: bool | None = None,
    tokens: int | str | None = None,
    verify: bool | None = None,
) -> Evaluation:
    """Evaluate a run's saved model; on the machine that trained it the numbers are those that training printed.

    Args:
        run: An existing run, or its folder.
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
    run = Run.of(run)
    subject = Subject.of(run, split, checkpoint, None if data is None else Path(data), flip, tokens)

    from fastsketch.evaluation.measure import measure  # here torch begins

    scores, confusion, predictions = measure(subject, device, subject.recipe.data.verify if verify is None else verify)
    evaluation = Evaluation(
        subject,
        scores,
        class_scores(confusion, subject.dataset.classes),
        confusion,
        find_mistakes(predictions, subject.folder, subject.dataset, subject.split),
        table=run.evaluation / f"{subject.name}-classes.csv",
        plot=run.plots / f"confusion-{subject.name}.png",
        mistakes_table=run.evaluation / f"{subject.name}-mistakes.csv",
        mistakes_plot=run.plots / f"mistakes-{subject.name}.png",
    )
    for folder in (run.evaluation, run.plots):
        folder.mkdir(exist_ok=True)
    _write(evaluation)
    _draw(evaluation)
    return evaluation


def _write(evaluation: Evaluation) -> None:
    """The scores; a row a class, the worst recognised first and those without images last; a row a mistake."""
    subject = evaluation.subject
    atomic.write_json(subject.run.evaluation / f"{subject.name}.json", evaluation.scores._asdict())
    ordered = sorted(evaluation.classes, key=lambda each: (not each.images, each.images and each.accuracy, each.name))
    _write_table(evaluation.table, ClassScores, ordered)
    _write_table(evaluation.mistakes_table, Mistake, evaluation.mistakes)


def _write_table(path: Path, kind: type, rows: Iterable[ClassScores | Mistake]) -> None:
    """A row each; what is not known, such as the accuracy of a class without images, is an empty cell."""
    known = ({key: None if value != value else value for key, value in asdict(row).items()} for row in rows)
    atomic.write_csv(path, [field.name for field in fields(kind)], known)


def _draw(evaluation: Evaluation) -> None:
    from fastsketch.figures.confusion import plot_confusion
    from fastsketch.figures.mistakes import MOST, draw_mistakes

    subject, mistakes = evaluation.subject, evaluation.mistakes
    names, title = subject.dataset.classes, f"{subject.run.root.name}, {subject.split}"
    top1 = f"{title}: top-1 {evaluation.scores.top1:.1%}"
    plot_confusion(evaluation.plot, evaluation.confusion, names, top1)
    most = f", the {MOST} most confident" if len(mistakes) > MOST else ""
    total = int(evaluation.confusion.sum())
    sketches = sketches_of(mistakes[:MOST], subject.folder, subject.dataset)
    draw_mistakes(evaluation.mistakes_plot, sketches, f"{title}: {len(mistakes):,} of {total:,} mistaken{most}")
