"""The weights that the study of ink tokens' accuracy starts from: a small transformer that knows drawings and sketches.

First it learns 345 classes of Quick, Draw! by their labels, and what an EfficientNet-Lite0 that was fine-tuned on
TU-Berlin says of every augmented drawing; then, with a new classifier, TU-Berlin's 250 classes in the same way (a
convolutional teacher, as in DeiT: Touvron et al., 2021). A quarter of the steps are dense, so that neither all patches
nor few are new to it. That takes an hour of two CPU cores, wherefore the weights stay in the user's cache folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

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

from .ink_study import Learner, Pretraining, create
from .originals import SHARED, labelled_dataset

console = Console(highlight=False)

DENSE_STEPS = 0.25
"""Of the pretraining."""

TEACHER = "tf_efficientnet_lite0"
TEACHER_SIZES = (0.57, 0.86, 1.0)
"""Of the study's images, in turn over the teacher's epochs."""

VALIDATION = 5
"""Drawings of each class that are not learned."""


Weights = dict[str, Tensor]
Known = dict[str, float]


def pretrained(how: Pretraining, tokens: int, folder: Path) -> tuple[Weights, Known]:
    """Weights without a classifier, and what is known of them; made if the cache has none for these settings.

    Args:
        how: How large all is, and for how long.
        tokens: Patches that it sees, where a step is not dense.
        folder: For what is needed on the way.

    Returns:
        Nothing at all where there are no drawings.
    """
    if not (SHARED / "quickdraw-strokes").is_dir():
        return {}, {}
    teacher = _LateTeacher(how, folder / "teacher")
    drawings = _cached("drawings", how, tokens, lambda: _learn_drawings(how, tokens, folder, teacher))
    return _cached("sketches", how, tokens, lambda: _learn_sketches(how, tokens, folder, teacher, *drawings))


def _cached(
    name: str, how: Pretraining, tokens: int, make: Callable[[], tuple[Weights, Known]]
) -> tuple[Weights, Known]:
    settings = json.dumps({**asdict(how), "tokens": tokens, "dense steps": DENSE_STEPS}, sort_keys=True)
    digest = sha256(settings.encode()).hexdigest()[:16]
    path = platformdirs.user_cache_path("fastsketch") / "benchmarks" / f"ink-study-{name}-{digest}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        weights, known = make()
        atomic.write_bytes(path, save(weights, {"known": json.dumps(known)}))
    with safe_open(path, "pt") as file:
        return load_file(path), json.loads(file.metadata()["known"])


def _learn_drawings(how: Pretraining, tokens: int, folder: Path, late: _LateTeacher) -> tuple[Weights, Known]:
    config = ConvertConfig(size=how.size, split=f"{how.drawings - VALIDATION}/{VALIDATION}/0", classes=how.classes)
    convert_dataset(open_source(SHARED / "quickdraw-strokes"), folder / "drawings", config)
    teacher, known = late()
    classes = len(DatasetMetadata.load(folder / "drawings").classes)
    model = create(how, classes + (teacher.classes if teacher else 0))
    learner = _learn(how, folder / "drawings", model, tokens, teacher, classes, epochs=how.epochs)
    assert isinstance(model.head, nn.Linear)
    model.head = _rows(model.head, classes)
    return _weights(model), known | _measured("drawings", learner, tokens)


def _learn_sketches(
    how: Pretraining, tokens: int, folder: Path, late: _LateTeacher, weights: Weights, known: Known
) -> tuple[Weights, Known]:
    teacher, _ = late()
    if teacher is None:
        return weights, known
    model = create(how, teacher.classes)
    model.load_state_dict(weights, strict=False)
    sketches = folder / "teacher" / "sketches"
    learner = _learn(how, sketches, model, tokens, teacher, teacher.classes, epochs=how.sketch_epochs)
    return _weights(model), known | _measured("sketches", learner, tokens)


def _learn(
    how: Pretraining, folder: Path, model: nn.Module, tokens: int, teacher: Teacher | None, classes: int, *, epochs: int
) -> Learner:
    learner = Learner(
        folder,
        model,
        data__batch_size=how.batch_size,
        model__tokens=tokens,
        model__dense_steps=DENSE_STEPS,
        optimizer__lr=how.lr,
        training__epochs=epochs,
    )
    trainer = learner.trainer
    if teacher:
        trainer.step.loss_of = distilling(trainer.model, teacher, classes, trainer.preprocess, trainer.precision)
    learner.learn(verbose=True)
    return learner


def _measured(name: str, learner: Learner, tokens: int) -> Known:
    known = {f"top-1 on {name}": learner.top1(None), f"top-1 on ink of {name}": learner.top1(tokens)}
    console.print(f"pretrained: {known}")
    return known


def _weights(model: nn.Module) -> Weights:
    return {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}


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

    @torch.no_grad()
    def forward(self, images: Tensor, preprocess: Preprocess) -> Tensor:
        """Logits [B, classes] of images that `preprocess` normalised."""
        gray = images * preprocess.std + preprocess.mean
        logits: Tensor = self.model((gray - self.preprocess.mean) / self.preprocess.std)
        return logits


def distilling(
    model: nn.Module, teacher: Teacher, classes: int, preprocess: Preprocess, precision: torch.dtype
) -> Callable[[Tensor, Targets], Tensor]:
    """A loss of a model whose first logits are to follow labels and whose last are to be those of a teacher.

    It is the sum of both cross-entropies, the teacher's probabilities being the target of the second. The logits may be
    the same ones.
    """

    def loss_of(images: Tensor, targets: Targets) -> Tensor:
        with autocast(images.device, precision):
            logits = model(images)
            wanted = teacher(images, preprocess).float().softmax(dim=1)
        taught = logits[:, -teacher.classes :].float()
        return mixed_cross_entropy(logits[:, :classes], targets, 0.1) + F.cross_entropy(taught, wanted)

    return loss_of


class _LateTeacher:
    """The teacher, fine-tuned where it is first asked for: the cache may make it needless."""

    def __init__(self, how: Pretraining, folder: Path) -> None:
        self._how, self._folder = how, folder
        self._made: tuple[Teacher | None, Known] | None = None

    def __call__(self) -> tuple[Teacher | None, Known]:
        self._made = self._made or _teacher(self._how, self._folder)
        return self._made


def _teacher(how: Pretraining, folder: Path) -> tuple[Teacher | None, Known]:
    """TU-Berlin's 250 classes, fine-tuned from ImageNet weights; None where these or the sketches are missing."""
    weights = SHARED.parent / "weights" / f"{TEACHER}.in1k.safetensors"
    if not weights.is_file() or not (SHARED / "tuberlin224").is_dir():
        return None, {}
    recipe = load_recipe(
        "cpu-quarter",
        (),
        data__path=labelled_dataset(folder, how.size, None),
        model__weights=weights,
        augment__normalize="standard",
        training__epochs=how.teacher_epochs,
        training__image_sizes=[round(how.size * share) for share in TEACHER_SIZES],
    )
    run = Run(folder / "run")
    records = fit(recipe, run, on_epoch=lambda record: console.print(f"teacher, epoch {record.epoch}: {record}"))
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
