"""The weights that the study of ink tokens' accuracy starts from: a small transformer that has learned drawings.

It learns 345 classes of Quick, Draw! by their labels and, of every augmented drawing, what an EfficientNet-Lite0 that
was fine-tuned on TU-Berlin says (a convolutional teacher, as in DeiT: Touvron et al., 2021); it has never seen a sketch
of TU-Berlin itself. A quarter of its steps are dense, so that neither all patches nor few are new to it. That takes an
hour of two CPU cores, wherefore the weights stay in the user's cache folder.
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


def pretrained(how: Pretraining, tokens: int, folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
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
    settings = json.dumps({**asdict(how), "tokens": tokens, "dense steps": DENSE_STEPS}, sort_keys=True)
    digest = sha256(settings.encode()).hexdigest()[:16]
    path = platformdirs.user_cache_path("fastsketch") / "benchmarks" / f"ink-study-{digest}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        weights, known = _pretrain(how, tokens, folder)
        atomic.write_bytes(path, save(weights, {"known": json.dumps(known)}))
    with safe_open(path, "pt") as file:
        known = json.loads(file.metadata()["known"])
    return load_file(path), known


def _pretrain(how: Pretraining, tokens: int, folder: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    teacher, known = _teacher(how, folder / "teacher")
    config = ConvertConfig(size=how.size, split=f"{how.drawings - VALIDATION}/{VALIDATION}/0", classes=how.classes)
    convert_dataset(open_source(SHARED / "quickdraw-strokes"), folder / "drawings", config)
    data = DatasetMetadata.load(folder / "drawings")
    torch.manual_seed(0)
    model = create(how, len(data.classes) + (teacher.classes if teacher else 0))
    learner = Learner(
        folder / "drawings",
        model,
        data__batch_size=how.batch_size,
        model__tokens=tokens,
        model__dense_steps=DENSE_STEPS,
        optimizer__lr=how.lr,
        training__epochs=how.epochs,
    )
    if teacher:
        trainer = learner.trainer
        trainer.step.loss_of = distilling(trainer.model, teacher, trainer.preprocess, trainer.precision)
    seconds = learner.learn(verbose=True)
    if teacher:
        assert isinstance(model.head, nn.Linear)
        model.head = _rows(model.head, len(data.classes))
    known |= {"seconds": seconds, "top1": learner.top1(None), "top1 on ink": learner.top1(tokens)}
    console.print(f"pretrained: {known}")
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}
    return weights, known


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
    model: nn.Module, teacher: Teacher, preprocess: Preprocess, precision: torch.dtype
) -> Callable[[Tensor, Targets], Tensor]:
    """A loss of a model whose last logits are to be those of a teacher, and whose others follow labels.

    It is the sum of both cross-entropies, the teacher's probabilities being the target of the second.
    """

    def loss_of(images: Tensor, targets: Targets) -> Tensor:
        with autocast(images.device, precision):
            logits = model(images)
            wanted = teacher(images, preprocess).float().softmax(dim=1)
        labelled, taught = logits.float().split([logits.shape[1] - teacher.classes, teacher.classes], dim=1)
        return mixed_cross_entropy(labelled, targets, 0.1) + F.cross_entropy(taught, wanted)

    return loss_of


def _teacher(how: Pretraining, folder: Path) -> tuple[Teacher | None, dict[str, float]]:
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
