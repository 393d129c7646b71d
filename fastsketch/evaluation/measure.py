"""A saved model over a whole split, once: scores, confusion and logits."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn
from torchmetrics.classification import MulticlassConfusionMatrix

from fastsketch.device import resolve_device
from fastsketch.evaluation.outputs import Outputs, OutputsMetric
from fastsketch.evaluation.subject import Subject
from fastsketch.formats.metadata import split_parts
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Sampling, open_loader
from fastsketch.models.zoo import to_device
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution.precision import resolve_inference_precision
from fastsketch.training.run.checkpoint import load_model
from fastsketch.training.tokens import apply_tokens
from fastsketch.training.validation import Scores, accuracy_metrics, validate


class Measured(NamedTuple):
    """What one pass gave.

    Attributes:
        scores: Loss, top-1 and top-5.
        confusion: int64 [C, C], true classes in rows.
        outputs: Of each sample, on the CPU.
    """

    scores: Scores
    confusion: npt.NDArray[np.int64]
    outputs: Outputs


def measure(subject: Subject, device: str, verify: bool) -> Measured:
    """Show the whole split to the saved model.

    With `verify`, every byte of the split has been compared with its checksum when it returns.

    Raises:
        ConfigError: There is no such device, or the model has no such number of patches.
        DataError: The model or the data set is damaged.
    """
    model, preprocess = load_model(subject.run.root / subject.checkpoint)
    return measure_model(apply_tokens(subject.recipe.model, model, preprocess), preprocess, subject, device, verify)


def measure_model(model: nn.Module, preprocess: Preprocess, subject: Subject, device: str, verify: bool) -> Measured:
    """The same with another model in the place of the saved one; it is moved to the device."""
    recipe, dataset = subject.recipe, subject.dataset
    target = resolve_device(device)
    sampling = Sampling(recipe.data.eval_batch_size)
    loader = open_loader(subject.folder, dataset, subject.split, sampling, target, verify=verify)
    metrics = accuracy_metrics(len(dataset.classes))
    confusion = MulticlassConfusionMatrix(len(dataset.classes), validate_args=False)
    outputs = OutputsMetric(loader.samples, len(dataset.classes))
    metrics.add_metrics({"confusion": confusion, "outputs": outputs})
    splits = [dataset.splits[part] for part in split_parts(subject.split) if verify]
    with Verifier(subject.folder, splits, loader.verified) as verifier:
        scores = validate(
            to_device(model, target),
            preprocess,
            loader,
            metrics.to(target),
            precision=resolve_inference_precision(recipe.training.precision, target),
            flip=subject.flip,
        )
        verifier.conclude()
    # Copies can be computed with as any tensors; those of inference mode cannot.
    logits, labels = (part.cpu().clone() for part in outputs.compute())
    # torchmetrics makes a number of what has one element.
    flat = Outputs(logits.reshape(-1, len(dataset.classes)), labels.reshape(-1))
    return Measured(scores, confusion.compute().cpu().numpy(), flat)
