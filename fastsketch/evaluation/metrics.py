"""What a confusion matrix says about each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class of an evaluation.

    Attributes:
        name: The class.
        images: Images of it in the split.
        accuracy: Share of them that were recognised (the class's recall), in [0, 1]; NaN without images.
        precision: Share of the images taken for it that were of it, in [0, 1]; NaN if none was.
        confused_with: The class that its other images were most often taken for; empty if there were none.
        confused: How many of them.
    """

    name: str
    images: int
    accuracy: float
    precision: float
    confused_with: str
    confused: int


def class_scores(confusion: npt.NDArray[np.int64], names: list[str]) -> list[ClassScores]:
    """Each class's scores from a confusion matrix int64 [C, C] with true classes in rows, predicted in columns."""
    hits = confusion.diagonal()
    images, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        accuracy, precision = hits / images, hits / predicted
    errors = confusion - np.diag(hits)
    worst = errors.argmax(axis=1)
    return [
        ClassScores(
            name=name,
            images=int(images[label]),
            accuracy=float(accuracy[label]),
            precision=float(precision[label]),
            confused_with=names[worst[label]] if errors[label].any() else "",
            confused=int(errors[label, worst[label]]),
        )
        for label, name in enumerate(names)
    ]
