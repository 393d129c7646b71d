"""What a model made of each sample of a split."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric


class Predictions(NamedTuple):
    """The likeliest class of each of N samples, in the order of the split.

    Attributes:
        labels: int64 [N].
        probabilities: float32 [N] in [0, 1], of that class.
    """

    labels: Tensor
    probabilities: Tensor


class Outputs(NamedTuple):
    """Of each of N samples, in the order of the split.

    Attributes:
        logits: float32 [N, C].
        labels: int64 [N], the true ones.
    """

    logits: Tensor
    labels: Tensor

    def probabilities(self, temperature: float) -> Tensor:
        """float32 [N, C]."""
        return (self.logits / temperature).softmax(dim=1)

    def predictions(self, temperature: float) -> Predictions:
        """What each sample is taken for, whatever the temperature, and how surely."""
        labels = self.logits.argmax(dim=1)
        return Predictions(labels, self.probabilities(temperature).gather(1, labels.unsqueeze(1)).squeeze(1))


class OutputsMetric(Metric):
    """Collects `Outputs` while `validate` goes over a split; processes that share it out fill in their samples.

    Args:
        samples: N, of the whole split.
        classes: C.
    """

    full_state_update = False
    logits: Tensor
    labels: Tensor

    def __init__(self, samples: int, classes: int) -> None:
        super().__init__()
        self.add_state("logits", torch.zeros(samples, classes), dist_reduce_fx="sum")
        self.add_state("labels", torch.zeros(samples, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Logits float32 [B, C], the true labels, and the samples' positions in the split, int64 [B]."""
        self.logits[indices] = logits
        self.labels[indices] = labels

    def compute(self) -> Outputs:
        """Of all samples that were seen; zeros of others."""
        return Outputs(self.logits, self.labels)
