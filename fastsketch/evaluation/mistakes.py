"""Which samples of a split were taken for another class, and with what confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastsketch.formats.metadata import DatasetMetadata, split_parts
from fastsketch.formats.pack import PackSplit

if TYPE_CHECKING:
    from fastsketch.evaluation.outputs import Predictions
    from fastsketch.figures.mistakes import WrongSketch


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of them.

    Attributes:
        id: The sample's, in its source.
        true: Its class.
        predicted: What it was taken for.
        probability: Of the predicted class, in [0, 1].
        split: The split that it lies in.
        index: Its position there.
    """

    id: str
    true: str
    predicted: str
    probability: float
    split: str
    index: int


def find_mistakes(predictions: Predictions, folder: Path, dataset: DatasetMetadata, split: str) -> list[Mistake]:
    """All mistakes, the most confident first.

    Args:
        predictions: Of the whole split.
        folder: The data set.
        dataset: Its metadata.
        split: Name of the split, or of several that are joined.

    Raises:
        DataError: The data set is damaged.
    """
    predicted, probabilities = predictions.labels.cpu().numpy(), predictions.probabilities.cpu().numpy()
    classes, found, start = dataset.classes, [], 0
    for part in split_parts(split):
        samples = PackSplit(folder, dataset, part)
        ids, rows = samples.ids(), slice(start, start + len(samples))
        for index in np.flatnonzero(predicted[rows] != samples.labels).tolist():
            true, taken = classes[samples.labels[index]], classes[predicted[start + index]]
            found.append(Mistake(ids[index], true, taken, float(probabilities[start + index]), part, index))
        start += len(samples)
    return sorted(found, key=lambda mistake: -mistake.probability)


def sketches_of(mistakes: Sequence[Mistake], folder: Path, dataset: DatasetMetadata) -> list[WrongSketch]:
    """The images of mistakes, in order, to be drawn.

    Raises:
        DataError: The data set is damaged.
    """
    from fastsketch.figures.mistakes import WrongSketch

    splits = {name: PackSplit(folder, dataset, name) for name in {mistake.split for mistake in mistakes}}
    return [
        WrongSketch(splits[each.split].images[each.index, 0], each.true, each.predicted, each.probability)
        for each in mistakes
    ]
