"""The weights that the study of ink tokens' accuracy starts from: a small transformer that knows drawings and sketches.

First it learns 345 classes of Quick, Draw!, then those of TU-Berlin that the study leaves alone: by their labels, by
what an EfficientNet-Lite0 that was fine-tuned on TU-Berlin says of every augmented image (a convolutional teacher, as
in DeiT: Touvron et al., 2021), and by that one's feature maps (hints: Romero et al., 2015), which say something of
every patch. Drawings are smaller than sketches, at a third of the time a step. It sees all patches throughout, as
weights have done that one fetches. In all that takes an hour of two CPU cores, wherefore the weights stay in the
user's cache folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import platformdirs
import torch
import torch.nn.functional as F
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fastsketch import atomic
from fastsketch.augment import Targets
from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.models.zoo import to_device
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.sources import open_source
from fastsketch.training.execution.precision import autocast
from fastsketch.training.fit import fit
from fastsketch.training.loss import mixed_cross_entropy
from fastsketch.training.run.checkpoint import load_model
from fastsketch.training.run.directory import Run

from .ink_study import Learner, Pretraining, create, resize
from .originals import SHARED, imagenet_weights, labelled_dataset, sketches_after

console = Console(highlight=False)

TEACHER = "tf_efficientnet_lite0"
TEACHER_SIZES = (0.86, 1.0)
"""Of the study's images, in turn over the teacher's epochs."""

HINTS = 3
"""So many of the teacher's last feature maps are learned, by as many blocks at equal distances."""

VALIDATION = 5
"""Drawings of each class that are not learned."""

Weights = dict[str, Tensor]
Known = dict[str, float]


def pretrained(how: Pretraining, classes: int | None, folder: Path) -> tuple[Weights, Known]:
    """Weights without a classifier, and what is known of them; made if the cache has none for these settings.

    Args:
        how: How large all is, and for how long.
        classes: The study's, TU-Berlin's first; None for all, none of which is learned here then.
        folder: For what is needed on the way.

    Returns:
        Nothing at all where there are no drawings.
    """
    if not (SHARED / "quickdraw-strokes").is_dir():
        return {}, {}
    at_hand = imagenet_weights(TEACHER) is not None and (SHARED / "tuberlin224").is_dir()
    late: LateTeacher = cache(partial(_teacher, how, folder / "teacher") if at_hand else _no_teacher)
    teacher = f"{TEACHER} {TEACHER_SIZES}" if at_hand else ""
    settings = {**asdict(how), "held out": VALIDATION, "teacher": teacher, "hints": HINTS}
    epochs = settings.pop("sketch_epochs")
    drawings = _cached("drawings", settings, lambda: _learn_drawings(how, folder, late))
    if classes is None or not at_hand:
        return drawings
    settings |= {"sketch_epochs": epochs, "study's classes": classes}
    return _cached("sketches", settings, lambda: _learn_sketches(how, classes, folder, late, *drawings))


def _cached(name: str, settings: dict[str, Any], make: Callable[[], tuple[Weights, Known]]) -> tuple[Weights, Known]:
    path = _cache() / f"ink-study-{name}-{_digest(settings)}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        weights, known = make()
        atomic.write_bytes(path, save(weights, {"known": json.dumps(known)}))
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["known"])


def _cache() -> Path:
    return platformdirs.user_cache_path("fastsketch") / "benchmarks"


def _digest(settings: dict[str, Any]) -> str:
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _learn_drawings(how: Pretraining, folder: Path, late: LateTeacher) -> tuple[Weights, Known]:
    split = f"{how.drawings - VALIDATION}/{VALIDATION}/0"
    config = ConvertConfig(size=how.drawing_size, split=split, classes=how.classes)
    convert_dataset(open_source(SHARED / "quickdraw-strokes"), folder / "drawings", config)
    teacher, known = late()
    weights, top1 = _learn(how, folder / "drawings", {}, teacher, how.epochs)
    return weights, known | {"top-1 on drawings": top1}


def _learn_sketches(
    how: Pretraining, classes: int, folder: Path, late: LateTeacher, weights: Weights, known: Known
) -> tuple[Weights, Known]:
    teacher, _ = late()
    others = open_source(sketches_after(folder / "others", classes))
    convert_dataset(others, folder / "other sketches", ConvertConfig(size=how.size))
    weights, top1 = _learn(how, folder / "other sketches", weights, teacher, how.sketch_epochs)
    return weights, known | {"top-1 on other sketches": top1}


def _learn(
    how: Pretraining, folder: Path, weights: Weights, teacher: Teacher | None, epochs: int
) -> tuple[Weights, float]:
    """Learn a data set from weights without a classifier; give such, for images of the study's size, and the top-1."""
    data = DatasetMetadata.load(folder)
    classes = len(data.classes)
    torch.manual_seed(0)
    model = create(how, classes + (teacher.classes if teacher else 0))
    if teacher:
        model.hints = nn.ModuleList(nn.Conv2d(how.width, channels, 1) for channels in teacher.channels)
    model.load_state_dict(weights, strict=False)
    resize(model, data.size)
    learner = Learner(folder, model, epochs, data__batch_size=how.batch_size, optimizer__lr=how.lr)
    trainer = learner.trainer
    if teacher:
        trainer.step.loss_of = distilling(trainer.model, teacher, classes, trainer.preprocess, trainer.precision)
    learner.learn(verbose=True)
    assert isinstance(model.head, nn.Linear)
    model.head = _rows(model.head, classes)
    top1 = learner.top1(None)
    console.print(f"pretrained: {top1:.2%}")
    resize(model, how.size)
    return {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}, top1


class Teacher(nn.Module):
    """What a model says of images that were normalised for another one.

    Args:
        model: In evaluation mode.
        preprocess: Its own.
        classes: That it knows.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess, classes: int) -> None:
        super().__init__()
        self.model, self.preprocess, self.classes = model, preprocess, classes
        self.channels = [stage["num_chs"] for stage in model.feature_info[-HINTS:]]  # type: ignore[index]

    @torch.no_grad()
    def forward(self, images: Tensor, preprocess: Preprocess) -> tuple[Tensor, list[Tensor]]:
        """Logits [B, classes] and the last feature maps [B, C, H, W], of images that `preprocess` normalised.

        Each channel of a map has mean 0 and variance 1 over the batch, so that all of them count alike.
        """
        gray = images * preprocess.std + preprocess.mean
        shown = self.preprocess.normalise(gray)
        final, maps = self.model.forward_intermediates(shown, indices=HINTS)  # type: ignore[operator]
        logits: Tensor = self.model.forward_head(final)  # type: ignore[operator]
        return logits, [F.batch_norm(each.float(), None, None, training=True) for each in maps]


LateTeacher = Callable[[], tuple[Teacher | None, Known]]
"""Fine-tunes the teacher when it is first called: the cache may make it needless."""


def distilling(
    model: nn.Module, teacher: Teacher, classes: int, preprocess: Preprocess, precision: torch.dtype
) -> Callable[[Tensor, Targets], Tensor]:
    """A loss of a model whose first logits are to follow labels, whose last and whose `hints` are to be a teacher's.

    It is the sum of both cross-entropies, the teacher's probabilities being the target of the second, and of the mean
    squared errors of the hints, each a linear map of a block's patches, averaged where the teacher's map is coarser.
    """
    depth = len(model.blocks)  # type: ignore[arg-type]
    blocks = [depth * (number + 1) // HINTS - 1 for number in range(HINTS)]

    def loss_of(images: Tensor, targets: Targets) -> Tensor:
        with autocast(images.device, precision):
            tokens, maps = model.forward_intermediates(images, indices=blocks)  # type: ignore[operator]
            logits = model.forward_head(tokens)  # type: ignore[operator]
            wanted, features = teacher(images, preprocess)
            hints = [hint(own) for hint, own in zip(model.hints, maps, strict=True)]  # type: ignore[arg-type]
        loss = mixed_cross_entropy(logits[:, :classes], targets, 0.1)
        loss = loss + F.cross_entropy(logits[:, -teacher.classes :].float(), wanted.float().softmax(dim=1))
        for hint, feature in zip(hints, features, strict=True):
            loss = loss + F.mse_loss(F.adaptive_avg_pool2d(hint.float(), feature.shape[-2:]), feature)
        return loss

    return loss_of


def _no_teacher() -> tuple[None, Known]:
    return None, {}


def _teacher(how: Pretraining, folder: Path) -> tuple[Teacher, Known]:
    """TU-Berlin's classes, fine-tuned from ImageNet weights and a solved classifier; its run stays in the cache."""
    recipe = load_recipe(
        "cpu-quarter",
        (),
        data__path=labelled_dataset(folder, how.size, how.classes),
        model__weights=imagenet_weights(TEACHER),
        model__head_init="ridge",
        model__freeze_stages=0,
        augment__normalize="standard",
        optimizer__lr=how.teacher_lr,
        schedule__min_lr=0,
        training__epochs=how.teacher_epochs,
        training__image_sizes=[round(how.size * share) for share in TEACHER_SIZES],
    )
    run = Run(_cache() / f"ink-study-teacher-{_digest(recipe.model_dump(mode='json', exclude={'data': {'path'}}))}")
    records = fit(recipe, run, resume=run.begun, on_epoch=lambda record: console.print(f"teacher: {record}"))
    model, preprocess = load_model(run.last)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    top1 = records[-1].val_top1
    assert top1 is not None
    return Teacher(to_device(model.eval(), device), preprocess, len(run.dataset().classes)), {"teacher's top1": top1}


def _rows(head: nn.Linear, count: int) -> nn.Module:
    """A linear layer with the first outputs only."""
    rows = nn.Linear(head.in_features, count)
    rows.weight.data, rows.bias.data = head.weight.data[:count], head.bias.data[:count]
    return rows
