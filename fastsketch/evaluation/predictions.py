"""What a model took each sample of a split for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class Predictions(NamedTuple):
    """The class with the largest logit of each of N samples, in the order of the split.

    Attributes:
        labels: int64 [N].
        probabilities: float32 [N] in [0, 1], of that class.
    """

    labels: Tensor
    probabilities: Tensor


class PredictionsMetric(Metric):
    """Collects `Predictions` while `validate` goes over a split; processes that share it out fill in their samples.

    Args:
        samples: N, of the whole split.
    """

    full_state_update = False
    labels: Tensor
    probabilities: Tensor

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.add_state("labels", torch.zeros(samples, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("probabilities", torch.zeros(samples), dist_reduce_fx="sum")

    def update(self, logits: Tensor, _: Tensor, indices: Tensor) -> None:
        """Logits float32 [B, C], the true labels, and the samples' positions in the split, int64 [B]."""
        predicted = logits.argmax(dim=1)
        self.labels[indices] = predicted
        self.probabilities[indices] = logits.softmax(dim=1).gather(1, predicted.unsqueeze(1)).squeeze(1)

    def compute(self) -> Predictions:
        """Of all samples that were seen; label and probability 0 of others."""
        return Predictions(self.labels, self.probabilities)
