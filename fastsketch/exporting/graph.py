"""What is exported: everything between the pixels that a data set stores and the probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsketch.ink import PAPER
from fastsketch.preprocess import HALF, Preprocess
from fastsketch.training.logits import mean_probabilities


class ExportedGraph(nn.Module):
    """uint8 [B, 1, S, S], paper = 255 → class probabilities, float32 [B, C].

    It computes what `Preprocess`, the model, the mirror image and the temperature do, in operations that every runtime
    has: shrinking, for which runtimes have filters of their own, is two products with the very weights of torch's.

    Args:
        model: In evaluation mode, on the CPU.
        preprocess: What it is shown.
        size: S.
        flip: Take the mean with the mirror image's probabilities.
        temperature: What logits are divided by.
    """

    weights: Tensor

    def __init__(
        self, model: nn.Module, preprocess: Preprocess, size: int, *, flip: bool = False, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.model, self.preprocess, self.flip, self.temperature = model, preprocess, flip, temperature
        self.shrinks = size != preprocess.size
        self.register_buffer("weights", _weights(size, preprocess.size))

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        gray = images.float()
        if self.shrinks:
            gray = (self.weights @ gray @ self.weights.mT + HALF).floor()
        inputs = self.preprocess.normalise(1 - (PAPER - gray) / PAPER)  # rounded as `Preprocess` rounds
        logits: Tensor = self.model(inputs).float()
        if self.flip:
            logits = mean_probabilities(logits, self.model(inputs.flip(-1)).float())
        return (logits / self.temperature).softmax(dim=1)


def _weights(size: int, smaller: int) -> Tensor:
    """What each of `smaller` rows takes of `size` rows when `shrink` makes the one of the other, float32."""
    if size == smaller:
        return torch.eye(size)
    rows = F.interpolate(torch.eye(size)[None, None], size=(smaller, size), mode="bilinear", antialias=True)
    return rows[0, 0]
