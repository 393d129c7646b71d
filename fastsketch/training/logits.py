"""From stored pixels to logits: the one way, in validation and wherever a model is asked.

It stands by itself because `predict` needs nothing else of validation: importing torchmetrics takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastsketch.training.execution.precision import autocast


def predict_logits(
    model: nn.Module, preprocess: Callable[[Tensor], Tensor], images: Tensor, *, flip: bool, precision: torch.dtype
) -> Tensor:
    """What a model makes of images.

    Args:
        model: In evaluation mode.
        preprocess: What it is shown.
        images: uint8 [B, 1, S, S], paper = 255.
        flip: Take the mean of the class probabilities of each image and its mirror image.
        precision: What the model computes in.

    Returns:
        float32 [B, C].
    """
    inputs = preprocess(images)
    with autocast(inputs.device, precision):
        logits: Tensor = model(inputs).float()
        if flip:
            logits = mean_probabilities(logits, model(inputs.flip(-1)).float())
    return logits


def mean_probabilities(first: Tensor, second: Tensor) -> Tensor:
    """Logits of the mean of two predictions' class probabilities, float32 [B, C]: its logarithm."""
    return torch.logaddexp(first.log_softmax(dim=1), second.log_softmax(dim=1)) - math.log(2)
