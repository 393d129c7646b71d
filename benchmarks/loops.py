"""Ways to train the same model on the same sketches: ours, the bare step, and what users write now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from fastsketch.augment import SketchAugment
from fastsketch.config import AugmentConfig, Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.loaders import Batch, Sampling, open_loader
from fastsketch.loaders.base import derived_seed
from fastsketch.models.zoo import create_model, to_device
from fastsketch.preprocess import Preprocess
from fastsketch.training.execution.compile import compile_step, compiled, trial_batch
from fastsketch.training.execution.distributed import World
from fastsketch.training.execution.precision import autocast, loss_scaler
from fastsketch.training.execution.step import TrainStep
from fastsketch.training.optim import create_optimizer, create_schedule
from fastsketch.workers import available_cpus

from .augment import torchvision_geometry, torchvision_mix

MODE = "default"
"""How the compiled contenders are compiled."""

Criterion = Callable[[Tensor, Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Task:
    """What all contenders of a table train: a model with its batch size, optimizer and ranges of augmentation.

    Attributes:
        recipe: Names all of them.
        folder: The converted data set.
        device: Where.
        precision: What the model computes in.
    """

    recipe: Recipe
    folder: Path
    device: torch.device
    precision: torch.dtype
    dataset: DatasetMetadata = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", DatasetMetadata.load(self.folder))

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.recipe.data.batch_size

    @property
    def classes(self) -> int:
        """Classes of the data set."""
        return len(self.dataset.classes)


class Outcome(NamedTuple):
    """What a call of a contender did: images trained on, and the mean of the steps' losses."""

    images: int
    loss: float


class Learner:
    """Model, optimizer and scaler, the same for every contender and from the same weights, and the plain step."""

    def __init__(self, task: Task) -> None:
        torch.manual_seed(0)
        model = create_model(task.recipe.model, num_classes=task.classes, size=task.dataset.size)
        # Channels-last for all of them: it is the loops that are compared here.
        self.model: nn.Module = to_device(model, task.device).train()
        self.optimizer = create_optimizer(self.model, task.recipe.optimizer)
        self.scaler = loss_scaler(task.device, task.precision)
        self.loss_of = self._loss_of
        self._task = task

    def compile(self) -> None:
        """Compile forward pass and loss, in the first call."""
        self.loss_of = compiled(self._loss_of, MODE)

    def update(self, images: Tensor, targets: Tensor, criterion: Criterion = F.cross_entropy) -> Tensor:
        """Forward, backward, optimizer; returns the loss, on the device."""
        self.optimizer.zero_grad()
        loss = self.loss_of(images, targets, criterion)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def train(self, batches: Batches, criterion: Criterion = F.cross_entropy) -> Outcome:
        """The loop that everybody writes; it waits for the device once, at the end."""
        device = self._task.device
        losses, seen = [], 0
        for images, targets in batches:
            images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            losses.append(self.update(images, targets, criterion))
            seen += len(images)
        return Outcome(seen, float(torch.stack(losses).mean()))

    def _loss_of(self, images: Tensor, targets: Tensor, criterion: Criterion = F.cross_entropy) -> Tensor:
        with autocast(images.device, self._task.precision):
            logits = self.model(images)
        return criterion(logits.float(), targets)


class OurLoop:
    """What `fastsketch.training.fit.fit` does every step, without what it does once an epoch."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.learner = Learner(task)
        self.augment = SketchAugment(task.recipe.augment, Preprocess(task.dataset.size)).to(task.device)
        sampling = Sampling(task.batch, shuffle=True, drop_last=True)
        self.loader = open_loader(task.folder, task.dataset, "train", sampling, task.device, name="resident")
        self.step = TrainStep(
            self.learner.model,
            self.augment,
            self.learner.optimizer,
            self.learner.scaler,
            precision=task.precision,
            micro_batch=task.batch,
            config=task.recipe.training,
        )
        epochs = task.recipe.training.epochs
        self.schedule = create_schedule(
            self.learner.optimizer, task.recipe.schedule, epochs=epochs, steps_per_epoch=len(self.loader)
        )
        self.generator = torch.Generator(task.device).manual_seed(0)
        self.batches = self._batches()
        self._loss_sum = torch.zeros((), device=task.device)
        self._number = 0

    def compile(self) -> bool:
        """Compile as `fit` does: only if it works, gives the same losses and is faster."""
        batch = self.trial()
        params = self.augment.sample_params(self.task.batch, self.generator)
        return compile_step(self.step, self.augment, batch, params, MODE, World())

    def trial(self) -> Batch:
        """A batch as the loader's, always the same."""
        return trial_batch(self.task.batch, self.task.dataset.size, self.task.classes, self.task.device)

    def train(self, steps: int) -> Outcome:
        """So many steps more; epochs follow each other without an end."""
        self._loss_sum.zero_()
        seed = self.task.recipe.training.seed
        for batch in islice(self.batches, steps):
            torch.manual_seed(derived_seed(seed, self._number))
            self.generator.manual_seed(derived_seed(seed, ~self._number))
            self.schedule.step_update(self._number)
            self._loss_sum += self.step(batch, self.augment.sample_params(self.task.batch, self.generator))
            self._number += 1
        return Outcome(steps * self.task.batch, float(self._loss_sum) / steps)

    def _batches(self) -> Iterator[Batch]:
        for epoch in count():
            yield from self.loader.epoch(epoch)


def fixed_batches(task: Task, steps: int) -> Batches:
    """The same float tensor again and again: float32 [B, 1, S, S] in [0, 1], labels int64 [B]."""
    batch = trial_batch(task.batch, task.dataset.size, task.classes, task.device)
    return [(batch.images.float() / 255, batch.labels)] * steps


def image_folder(task: Task, root: Path) -> Batches:
    """torchvision's ImageFolder, transforms.v2 and its CutMix or MixUp in `collate_fn`, as its documentation has it."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    config: AugmentConfig = task.recipe.augment
    transform = v2.Compose(
        [
            v2.Grayscale(),
            v2.Resize((task.dataset.size, task.dataset.size)),
            torchvision_geometry(config),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return DataLoader(
        ImageFolder(os.fspath(root), transform=transform),
        task.batch,
        shuffle=True,
        drop_last=True,
        num_workers=available_cpus(),
        pin_memory=task.device.type == "cuda",
        persistent_workers=True,
        collate_fn=partial(_mixed, torchvision_mix(config, task.classes), config.mix_probability, task.classes),
    )


def _mixed(mix: nn.Module, probability: float, classes: int, samples: list[Any]) -> tuple[Tensor, Tensor]:
    """Runs in a worker: a batch with dense targets, mixed or not."""
    images, labels = default_collate(samples)
    if torch.rand(()) < probability:
        images, labels = mix(images, labels)
        return images, labels
    return images, F.one_hot(labels, classes).float()


def timm_loader(task: Task, root: Path) -> Batches:
    """timm's own loader and Mixup; its RandomResizedCrop takes the place of the affine map."""
    from timm.data import ImageDataset, Mixup, create_loader

    config: AugmentConfig = task.recipe.augment
    loader = create_loader(
        ImageDataset(os.fspath(root), input_img_mode="L"),
        input_size=(1, task.dataset.size, task.dataset.size),
        batch_size=task.batch,
        is_training=True,
        scale=(config.scale[0] ** 2, 1.0),
        ratio=(0.9, 1.1),
        hflip=config.flip,
        color_jitter=None,
        interpolation="bilinear",
        mean=(0.0,),
        std=(1.0,),
        num_workers=available_cpus(),
        pin_memory=task.device.type == "cuda",
        device=task.device,
    )
    mix = Mixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=config.mix_probability,
        switch_prob=config.cutmix_share,
        label_smoothing=0.0,
        num_classes=task.classes,
    )
    return _Mapped(loader, mix)


class _Mapped:
    """An iterable of batches that a function is applied to, anew in every epoch."""

    def __init__(self, batches: Batches, function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        self._batches, self._function = batches, function

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self._function(*batch) for batch in self._batches)


def write_images(folder: Path, out: Path) -> Path:
    """The training images of a converted data set as an ImageFolder of PNGs."""
    dataset = DatasetMetadata.load(folder)
    split = PackSplit(folder, dataset, "train")
    for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        path = out / dataset.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    return out
