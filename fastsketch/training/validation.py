"""One pass over a split without gradients: used after every epoch, and by `evaluate`, so that both say the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from fastsketch.loaders import Loader
from fastsketch.training.execution.distributed import World
from fastsketch.training.logits import predict_logits


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
    model: nn.Module,
    preprocess: Callable[[Tensor], Tensor],
    loader: Loader,
    metrics: MetricCollection,
    *,
    flip: bool = False,
    precision: torch.dtype = torch.float32,
    world: World = World(),  # noqa: B008, it cannot be changed
) -> Scores:
    """Run `model` over one epoch of `loader`, the ragged last batch included; the host reads once, at the end.

    Args:
        model: Left in evaluation mode.
        preprocess: What the model is shown.
        loader: The split.
        metrics: Reset and updated with logits and labels, and the samples' `indices` where a metric takes them; must
            contain `accuracy_metrics`, on the loader's device.
        flip: Score the mean of the class probabilities of each image and its mirror image.
        precision: What the model computes in.
        world: The processes among which the split is shared out; each gets the scores of the whole.
    """
    model.eval()
    metrics.reset()
    totals = None  # the sum of the losses, and the number of images
    for batch in loader.epoch():
        logits = predict_logits(model, preprocess, batch.images, flip=flip, precision=precision)
        loss = F.cross_entropy(logits, batch.labels, reduction="sum")
        found = torch.stack([loss, torch.full_like(loss, len(logits))])
        totals = found if totals is None else totals + found
        metrics.update(logits, batch.labels, indices=batch.indices)
    values = metrics.compute()  # torchmetrics sums over the processes by itself
    assert totals is not None, "a split has samples"
    loss_sum, images_seen = world.sum(totals).tolist()
    return Scores(
        loss=loss_sum / images_seen,
        top1=float(values["top1"]),
        top5=float(values["top5"]),
    )
