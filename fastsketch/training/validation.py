"""One pass over a split without gradients: used after every epoch, and by `evaluate`, so that both say the same."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from fastsketch.augment import SketchAugment
from fastsketch.loaders import Loader


class Scores(NamedTuple):
    """Mean cross-entropy, and the shares of images whose class is the first, or among the first five, in [0, 1]."""

    loss: float
    top1: float
    top5: float


def accuracy_metrics(num_classes: int) -> MetricCollection:
    """Top-1 and top-5 over all images (micro average); with fewer than five classes top-5 is 1."""
    return MetricCollection(
        {
            f"top{k}": MulticlassAccuracy(num_classes, top_k=min(k, num_classes), average="micro", validate_args=False)
            for k in (1, 5)
        }
    )


@torch.inference_mode()
def validate(
    model: nn.Module, prepare: SketchAugment, loader: Loader, metrics: MetricCollection, *, flip: bool = False
) -> Scores:
    """Run `model` over one epoch of `loader`, the ragged last batch included; the host reads once, at the end.

    Args:
        model: Left in evaluation mode.
        prepare: Left in evaluation mode, where it only shrinks to its size and normalises.
        loader: The split.
        metrics: Reset and updated with logits and labels; must contain `accuracy_metrics`, on the loader's device.
        flip: Score the mean of the class probabilities of each image and its mirror image.
    """
    model.eval()
    prepare.eval()
    metrics.reset()
    losses = []
    for batch in loader.epoch():
        images = prepare(batch.images)
        logits = model(images).float()
        if flip:
            logits = mean_probabilities(logits, model(images.flip(-1)).float())
        losses.append(F.cross_entropy(logits, batch.labels, reduction="sum"))
        metrics.update(logits, batch.labels)
    values = metrics.compute()
    return Scores(
        loss=float(torch.stack(losses).sum()) / loader.samples,
        top1=float(values["top1"]),
        top5=float(values["top5"]),
    )


def mean_probabilities(first: Tensor, second: Tensor) -> Tensor:
    """Logits of the mean of two predictions' class probabilities, float32 [B, C]: its logarithm."""
    return torch.logaddexp(first.log_softmax(dim=1), second.log_softmax(dim=1)) - math.log(2)
