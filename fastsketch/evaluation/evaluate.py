"""A run and a split → top-1, top-5, a table of classes and a confusion matrix."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torchmetrics.classification import MulticlassConfusionMatrix

from fastsketch import atomic
from fastsketch.augment import SketchAugment
from fastsketch.device import resolve_device
from fastsketch.errors import ConfigError
from fastsketch.evaluation.metrics import ClassScores, class_scores
from fastsketch.evaluation.plots import plot_confusion
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Sampling, open_loader
from fastsketch.models.zoo import place
from fastsketch.training.checkpoint import load_model
from fastsketch.training.precision import resolve_precision
from fastsketch.training.run import Run
from fastsketch.training.tokens import apply_tokens
from fastsketch.training.validation import Scores, accuracy_metrics, validate


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate_run` found, and the files that it wrote.

    Attributes:
        scores: Loss, top-1 and top-5 of the whole split.
        classes: Each class, in label order.
        confusion: int64 [C, C], true classes in rows.
        table: CSV with a row a class.
        plot: Picture of the confusion matrix.
    """

    scores: Scores
    classes: list[ClassScores]
    confusion: npt.NDArray[np.int64]
    table: Path
    plot: Path


def evaluate_run(
    run: Run,
    split: str,
    *,
    checkpoint: str = "best",
    data: Path | None = None,
    device: str = "auto",
    flip: bool | None = None,
    tokens: int | str | None = None,
) -> Evaluation:
    """Evaluate a run's saved model; on the machine that trained it the numbers are those that training printed.

    Args:
        run: An existing run.
        split: Name of the split.
        checkpoint: `best` or `last`.
        data: The data set, if it is not where it was in training.
        device: Where to compute.
        flip: Average the class probabilities of each image and its mirror image; None is what the recipe says.
        tokens: Patches of each image that a vision transformer sees, a number or `all`; None is what the recipe says.

    Raises:
        ConfigError: There is no such split, the data set's classes are not the run's, or the model has no such number
            of patches.
        DataError: The model or the data set is damaged.
    """
    recipe = run.recipe([] if tokens is None else [f"model.eval_tokens={tokens}"])
    flip = recipe.evaluation.flip if flip is None else flip
    data = data or recipe.data.path
    if data is None:
        raise ConfigError(f"{run.config} names no data set", hint="name it with --data")
    dataset = DatasetMetadata.load(data)
    if not run.holds(dataset):
        raise ConfigError(f"{data} has other classes than the data set that {run.root} was trained on")
    target = resolve_device(device)
    model, spec = load_model(run.root / checkpoint)
    apply_tokens(recipe.model, model, spec)
    if run.dataset().size != dataset.size:
        raise ConfigError(f"{run.root} was trained on {run.dataset().size} px images, {data} has {dataset.size} px")
    loader = open_loader(data, dataset, split, Sampling(recipe.data.eval_batch_size), target)
    metrics = accuracy_metrics(len(dataset.classes))
    metrics.add_metrics({"confusion": MulticlassConfusionMatrix(len(dataset.classes), validate_args=False)})
    scores = validate(
        place(model, target),
        SketchAugment(recipe.augment, spec.size, spec.mean, spec.std),
        loader,
        metrics.to(target),
        precision=resolve_precision(recipe.training.precision, target),
        flip=flip,
    )
    confusion: npt.NDArray[np.int64] = metrics.compute()["confusion"].cpu().numpy()
    classes = class_scores(confusion, dataset.classes)
    name = f"{checkpoint}-{split}" + ("-flip" if flip else "") + (f"-tokens-{tokens}" if tokens else "")
    table, plot = run.evaluation / f"{name}-classes.csv", run.plots / f"confusion-{name}.png"
    for path in (table, plot):
        path.parent.mkdir(exist_ok=True)
    atomic.write_json(run.evaluation / f"{name}.json", scores._asdict())
    _write_table(table, classes)
    plot_confusion(plot, confusion, dataset.classes, title=f"{run.root.name}, {split}: top-1 {scores.top1:.1%}")
    return Evaluation(scores, classes, confusion, table, plot)


def _write_table(path: Path, classes: list[ClassScores]) -> None:
    """A row a class, the worst recognised first."""
    ordered = sorted(classes, key=lambda each: (each.accuracy, each.name))
    atomic.write_csv(path, [field.name for field in fields(ClassScores)], (asdict(each) for each in ordered))
