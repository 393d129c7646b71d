"""What an evaluation found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fastsketch.evaluation.metrics import ClassScores
from fastsketch.evaluation.mistakes import Mistake
from fastsketch.evaluation.subject import Subject

if TYPE_CHECKING:
    from fastsketch.evaluation.calibration import Calibration
    from fastsketch.evaluation.outputs import Outputs
    from fastsketch.training.validation import Scores


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """What `evaluate_run` found, and the files that it wrote.

    Attributes:
        subject: What was evaluated.
        scores: Loss, top-1 and top-5 of the whole split, by logits as training has them, without a temperature.
        calibration: How far the probabilities can be believed, and the temperature.
        classes: Each class, in label order.
        confusion: int64 [C, C], true classes in rows.
        outputs: Logits and true label of each sample.
        mistakes: All of them, the most confident first.
        table: CSV with a row a class.
        plot: Picture of the confusion matrix.
        mistakes_table: CSV with a row a mistake.
        mistakes_plot: Picture of the most confident mistakes.
        reliability_plot: Picture of accuracy over confidence.
    """

    subject: Subject
    scores: Scores
    calibration: Calibration
    classes: list[ClassScores]
    confusion: npt.NDArray[np.int64]
    outputs: Outputs
    mistakes: list[Mistake]
    table: Path
    plot: Path
    mistakes_table: Path
    mistakes_plot: Path
    reliability_plot: Path

    def __repr__(self) -> str:
        scores, of = self.scores, f"{str(self.subject.run.root)!r}, {self.subject.split}"
        return f"Evaluation({of}: top-1 {scores.top1:.2%}, top-5 {scores.top5:.2%})"
