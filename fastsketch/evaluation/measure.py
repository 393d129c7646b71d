"""A saved model over a whole split, once: scores, confusion and predictions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torchmetrics.classification import MulticlassConfusionMatrix

from fastsketch.device import resolve_device
from fastsketch.evaluation.predictions import Predictions, PredictionsMetric
from fastsketch.evaluation.subject import Subject
from fastsketch.formats.metadata import split_parts
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Sampling, open_loader
from fastsketch.models.zoo import to_device
from fastsketch.training.execution.precision import resolve_precision
from fastsketch.training.run.checkpoint import load_model
from fastsketch.training.tokens import apply_tokens
from fastsketch.training.validation import Scores, accuracy_metrics, validate


class Measured(NamedTuple):
    """What one pass gave.

    Attributes:
        scores: Loss, top-1 and top-5.
        confusion: int64 [C, C], true classes in rows.
        predictions: Of each sample.
    """

    scores: Scores
    confusion: npt.NDArray[np.int64]
    predictions: Predictions


def measure(subject: Subject, device: str, verify: bool) -> Measured:
    """Show the whole split to the model.

    With `verify`, every byte of the split has been compared with its checksum when it returns.

    Raises:
        ConfigError: There is no such device, or the model has no such number of patches.
        DataError: The model or the data set is damaged.
    """
    recipe, dataset = subject.recipe, subject.dataset
    target = resolve_device(device)
    model, preprocess = load_model(subject.run.root / subject.checkpoint)
    apply_tokens(recipe.model, model, preprocess)
    sampling = Sampling(recipe.data.eval_batch_size)
    loader = open_loader(subject.folder, dataset, subject.split, sampling, target, verify=verify)
    metrics = accuracy_metrics(len(dataset.classes))
    confusion = MulticlassConfusionMatrix(len(dataset.classes), validate_args=False)
    predictions = PredictionsMetric(loader.samples)
    metrics.add_metrics({"confusion": confusion, "predictions": predictions})
    splits = [dataset.splits[part] for part in split_parts(subject.split) if verify]
    with Verifier(subject.folder, splits, loader.verified) as verifier:
        scores = validate(
            to_device(model, target),
            preprocess,
            loader,
            metrics.to(target),
            precision=resolve_precision(recipe.training.precision, target),
            flip=subject.flip,
        )
        verifier.conclude()
    # torchmetrics makes a number of what has one element.
    flat = Predictions(*(part.reshape(-1) for part in predictions.compute()))
    return Measured(scores, confusion.compute().cpu().numpy(), flat)
