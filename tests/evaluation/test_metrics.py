from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from fastsketch.evaluation.metrics import class_scores


def test_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 6, (2, 400))
    predictions = np.where(rng.random(400) < 0.5, labels, predictions)
    scores = class_scores(confusion_matrix(labels, predictions), list("abcdef"))
    assert [each.accuracy for each in scores] == pytest.approx(recall_score(labels, predictions, average=None))
    assert [each.precision for each in scores] == pytest.approx(precision_score(labels, predictions, average=None))
    assert [each.images for each in scores] == np.bincount(labels).tolist()


def test_the_most_frequent_confusion_is_named() -> None:
    confusion = np.array([[5, 1, 4], [0, 7, 0], [0, 0, 0]])
    cat, dog, owl = class_scores(confusion, ["cat", "dog", "owl"])
    assert (cat.confused_with, cat.confused) == ("owl", 4)
    assert (dog.confused_with, dog.confused) == ("", 0)
    assert owl.images == 0
    assert np.isnan(owl.accuracy)
