"""What users write now: torchvision's and timm's ways from files to a batch, and timm's step."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from timm.data import FastCollateMixup, ImageDataset, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.task import ClassificationTask
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from fastsketch.config import AugmentConfig
from fastsketch.training.execution.precision import autocast
from fastsketch.workers import available_cpus

from .loops import BareLoop, Batches, Task
from .watch import Outcome

# ------------------------------------------------------------------------------------------------------ torchvision


def gray(path: str) -> Image.Image:
    """ImageFolder's `loader` for sketches; its own makes colour images of them."""
    with Image.open(path) as image:
        return image.convert("L")


def torchvision_geometry(config: AugmentConfig) -> Callable[[Any], Any]:
    """Flip and affine map with a recipe's ranges, on paper polarity."""
    from torchvision.transforms import v2

    affine = v2.RandomAffine(
        degrees=config.rotation,
        translate=(config.translation, config.translation),
        scale=config.scale,
        shear=[-config.shear, config.shear, -config.shear, config.shear],
        interpolation=v2.InterpolationMode.BILINEAR,
        fill=255,
    )
    made: Callable[[Any], Any] = v2.Compose([v2.RandomHorizontalFlip(config.flip), affine])
    return made


def torchvision_mix(config: AugmentConfig, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """CutMix or MixUp of a batch, by a recipe's share of each."""
    from torchvision.transforms import v2

    cutmix = v2.CutMix(alpha=config.cutmix, num_classes=classes)
    mixup = v2.MixUp(alpha=config.mixup, num_classes=classes)
    made: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    made = v2.RandomChoice([cutmix, mixup], p=[config.cutmix_share, 1 - config.cutmix_share])
    return made


def image_folder(task: Task, root: Path) -> Batches:
    """torchvision's ImageFolder, transforms.v2 and its CutMix or MixUp in `collate_fn`, as its documentation has it."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    config = task.recipe.augment
    transform = v2.Compose(
        [
            v2.Resize((task.dataset.size, task.dataset.size)),
            torchvision_geometry(config),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    return DataLoader(
        ImageFolder(os.fspath(root), transform=transform, loader=gray),
        task.batch,
        shuffle=True,
        drop_last=True,
        num_workers=available_cpus(),
        pin_memory=task.device.type == "cuda",
        persistent_workers=True,
        collate_fn=partial(_mixed, torchvision_mix(config, task.classes), config.mix_probability, task.classes),
    )


def _mixed(
    mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], probability: float, classes: int, samples: list[Any]
) -> tuple[Tensor, Tensor]:
    """Runs in a worker: a batch with dense targets, mixed or not."""
    images, labels = default_collate(samples)
    if torch.rand(()) < probability:
        return mix(images, labels)
    return images, F.one_hot(labels, classes).float()


# ------------------------------------------------------------------------------------------------------------- timm


def timm_loader(task: Task, root: Path) -> Batches:
    """timm's dataset, loader and mixing in the workers; its RandomResizedCrop takes the place of the affine map."""
    config = task.recipe.augment
    mix = FastCollateMixup(
        mixup_alpha=config.mixup,
        cutmix_alpha=config.cutmix,
        prob=config.mix_probability,
        switch_prob=config.cutmix_share,
        label_smoothing=0.0,
        num_classes=task.classes,
    )
    loader: Batches = create_loader(
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
        collate_fn=mix,
        pin_memory=task.device.type == "cuda",
        device=task.device,
    )
    return loader


class TimmLoop:
    """`timm.task.ClassificationTask`, stepped as timm's training script does, on our model and optimizer."""

    def __init__(self, task: Task) -> None:
        bare = BareLoop(task)
        self._task, self._optimizer, self._scaler = task, bare.optimizer, bare.scaler
        self._classification = ClassificationTask(
            bare.model, criterion=SoftTargetCrossEntropy(), device=task.device, verbose=False
        )
        if task.compiled:
            self._classification.compile()

    def train(self, batches: Batches) -> Outcome:
        """Learn from float images [B, 1, S, S] with dense targets [B, C] that lie on the device."""
        losses, seen = [], 0
        self._optimizer.zero_grad()
        for images, targets in batches:
            images = images.contiguous(memory_format=torch.channels_last)
            with autocast(images.device, self._task.precision):
                loss = self._classification(images, targets)["loss"]
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._optimizer.zero_grad()
            losses.append(loss.detach())
            seen += len(images)
        return Outcome(seen, float(torch.stack(losses).mean()))
