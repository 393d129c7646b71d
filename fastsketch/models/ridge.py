"""A classifier that is solved instead of learned: ridge regression of the classes on a model's features.

With features x [F], standardised to z, and one-hot labels y [C], both centred over the images, W minimises
Σ |y - W z|² + λ |W|² (Hoerl and Kennard, 1970): W = Yᵀ Z (Zᵀ Z + λ I)⁻¹. The two products are sums over the images,
which take as much memory for a million as for ten. What a model's classifier then says are scores around 0 and 1;
multiplied by the one number that gives them the least cross-entropy, they are logits. λ and that number are chosen by
images that are held out, then all are used.

Dropout in front of a classifier, with probability p, adds in the mean p / (1 - p) Σ xⱼ² wⱼ² to a squared error (Wager
et al., 2013), and so to the diagonal of Zᵀ Z: what is solved is the classifier that training with it would look for.

It is linear probing before fine-tuning (Kumar et al., 2022), in one pass.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsketch.errors import FastSketchError
from fastsketch.models.temperature import best_scale

FOLD = 5
"""One image of so many is held out,"""

HELD_OUT = 4096
"""but no more than these: their features are kept, and a penalty and a scale need no more."""

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
"""Those tried."""

USUAL = 100.0
"""Best for 12,000 sketches and the 1,280 features of an EfficientNet-Lite0; taken where no images are held out."""

CONSTANT = 1e-6
"""A feature whose variance is so small a share of its mean square is constant, but for rounding: its weights would be
the largest of all."""


class Solution(NamedTuple):
    """A linear classifier, logits = weight · features + bias.

    Attributes:
        weight: float64 [C, F].
        bias: float64 [C].
        top1: Share of the held-out images that it knows, fitted to the others, in [0, 1]; None if none were.
    """

    weight: Tensor
    bias: Tensor
    top1: float | None = None

    def logits(self, features: Tensor) -> Tensor:
        """Of [B, F]: float64 [B, C]."""
        return F.linear(features.double(), self.weight, self.bias)


class RidgeRegression:
    """The sums that the regression follows from, of images that come in batches.

    Args:
        features: F.
        classes: C.
        images: How many there will be, in all processes together.
        device: Where to compute, in float64.
        dropout: Probability with which training drops each feature, in [0, 1).

    Attributes:
        sums: What processes that share out the images have to sum up before `solve`.
    """

    def __init__(self, features: int, classes: int, images: int, device: torch.device, dropout: float = 0.0) -> None:
        self._dropout = dropout
        self._step = max(FOLD, math.ceil(images / HELD_OUT))
        held = images // self._step
        self._products = torch.zeros(features + 1, features + 1, dtype=torch.float64, device=device)
        self._totals = torch.zeros(classes, features + 1, dtype=torch.float64, device=device)
        self._held = torch.zeros(held, features, device=device)
        self._labels = torch.zeros(held, dtype=torch.int64, device=device)
        self.sums = (self._products, self._totals, self._held, self._labels)

    def add(self, features: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Take in a batch.

        Args:
            features: Float [B, F].
            labels: int64 [B].
            indices: int64 [B], which of the images these are.
        """
        _add(self._products, self._totals, features, labels)
        place, rest = indices // self._step, indices % self._step
        chosen = (rest == self._step - 1) & (place < len(self._held))
        self._held[place[chosen]], self._labels[place[chosen]] = features[chosen].float(), labels[chosen]

    def solve(self) -> Solution:
        """The classifier.

        Where no images are held out, or for them chance would do better at any scale, it has the usual penalty, its
        scores are not scaled, and there is no top-1.

        Raises:
            FastSketchError: Features are not finite.
        """
        if not bool(self._products.isfinite().all()):
            raise FastSketchError(
                "model.head_init=ridge: the model's features are not finite",
                hint="look at the weights, or take training.precision float32",
            )
        products, totals = torch.zeros_like(self._products), torch.zeros_like(self._totals)
        _add(products, totals, self._held, self._labels)
        best, penalty, scale, top1 = math.inf, USUAL, 1.0, None
        for each in PENALTIES if len(self._held) else ():
            fitted = _solve(self._products - products, self._totals - totals, each, self._dropout)
            logits = fitted.logits(self._held)
            factor = best_scale(logits, self._labels)
            loss = float(F.cross_entropy(logits * factor, self._labels))
            if factor > 0 and loss < best:
                best, penalty, scale = loss, each, factor
                top1 = float((logits.argmax(dim=1) == self._labels).double().mean())
        weight, bias, _ = _solve(self._products, self._totals, penalty, self._dropout)
        return Solution(weight * scale, bias * scale, top1)


def _add(products: Tensor, totals: Tensor, features: Tensor, labels: Tensor) -> None:
    """Sum up Xᵀ X and Yᵀ X, where X has a column of ones: so are the sums and the numbers of images among them."""
    rows = F.pad(features.double(), (0, 1), value=1.0)
    products.addmm_(rows.T, rows)
    totals.index_add_(0, labels, rows)


def _solve(products: Tensor, totals: Tensor, penalty: float, dropout: float) -> Solution:
    """Of standardised features, put into weights of the features as they are."""
    number = products[-1, -1]
    mean, squares = products[-1, :-1] / number, products.diagonal()[:-1] / number
    covariance = products[:-1, :-1] - number * mean.outer(mean)
    variance = covariance.diagonal() / number
    std = torch.where(variance > CONSTANT * squares, variance.clamp(min=0).sqrt(), math.inf)
    gram = covariance / std.outer(std)
    gram.diagonal().add_(penalty + dropout / (1 - dropout) * number * squares / std**2)
    classes = totals[:, -1]
    targets = (totals[:, :-1] - classes.outer(mean)) / std
    weight = torch.linalg.solve(gram, targets.T).T / std
    return Solution(weight, classes / number - weight @ mean)


def fill(classifier: nn.Linear | nn.Conv2d, solution: Solution) -> None:
    """Write a solution into a linear classifier, or one that is a 1 × 1 convolution."""
    with torch.no_grad():
        classifier.weight.copy_(solution.weight.view_as(classifier.weight))
        if classifier.bias is not None:
            classifier.bias.copy_(solution.bias)
