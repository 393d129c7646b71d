"""One training of the study of ink tokens' accuracy: `Trainer` on a small vision transformer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import timm
from rich.console import Console
from torch import nn

from fastsketch.device import resolve_device
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.models.ink_tokens import keep_inked
from fastsketch.recipes import load_recipe
from fastsketch.training.data import open_data
from fastsketch.training.execution.allocator import freed_memory_kept
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.head_init import solve_head
from fastsketch.training.optim import create_schedule
from fastsketch.training.trainer import Trainer

console = Console(highlight=False)

GRID = 14
"""Patches along a side, as ViT-S/16 has at 224 px."""


@dataclass(frozen=True, slots=True)
class Pretraining:
    """What makes the weights that all ways start from.

    Attributes:
        size: Side of the images, in pixels.
        width: Of the transformer.
        depth: Its blocks.
        classes: Of drawings, and of sketches that the teacher learns; None for all.
        drawings: Of each class.
        drawing_size: Their side, in pixels.
        epochs: Over them.
        sketch_epochs: Over sketches of TU-Berlin, afterwards.
        teacher_epochs: Of the teacher, over TU-Berlin.
        teacher_lr: Its peak learning rate.
        lr: Peak learning rate.
        batch_size: Images a step.
    """

    size: int
    width: int
    depth: int
    classes: int | None
    drawings: int
    drawing_size: int
    epochs: int
    sketch_epochs: int
    teacher_epochs: int = 2
    teacher_lr: float = 5e-4
    lr: float = 1e-3
    batch_size: int = 64


def create(how: Pretraining, classes: int, **arguments: object) -> nn.Module:
    """A vision transformer of the study's width and depth; `arguments` as those of timm's."""
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        in_chans=1,
        num_classes=classes,
        img_size=how.size,
        patch_size=how.size // GRID,
        embed_dim=how.width,
        depth=how.depth,
        num_heads=max(1, how.width // 64),
        **arguments,
    )
    return model


def resize(model: nn.Module, size: int) -> None:
    """Let a model see images of another side: its position embeddings are resampled."""
    model.set_input_size(img_size=(size, size))  # type: ignore[operator]


class Learner:
    """`Trainer` with a model, on a data set.

    Args:
        folder: The data set.
        model: From `create`.
        epochs: May end within one.
        settings: As those of `load_recipe`.

    Attributes:
        trainer: What trains.
        steps: How many it is going to do in all.
    """

    def __init__(self, folder: Path, model: nn.Module, epochs: float, **settings: object) -> None:
        self.trainer = trainer = create_trainer(folder, model, training__epochs=math.ceil(epochs), **settings)
        trainer.enter_phase()
        self.steps = round(epochs * trainer.steps_per_epoch)
        schedule = trainer.recipe.schedule
        in_steps = schedule.model_copy(update={"warmup_epochs": schedule.warmup_epochs * trainer.steps_per_epoch})
        trainer.schedule = create_schedule(trainer.state.optimizer, in_steps, epochs=self.steps, steps_per_epoch=1)
        self._data = open_data(trainer.recipe, trainer.dataset, trainer.device, trainer.world)

    def learn(self, *, verbose: bool = False) -> float:
        """Train to the end; return the seconds of the steps, on a CPU those of its cores."""
        clock = process_time if self.trainer.device.type == "cpu" else perf_counter
        if self.trainer.recipe.model.head_init == "ridge":
            solve_head(self.trainer)
        started = clock()
        with freed_memory_kept(self.trainer.device):
            while True:
                for _ in self.trainer.train_epoch(self._data.train):
                    if self.trainer.step_number == self.steps:
                        return clock() - started
                record, _ = self.trainer.end_epoch(None)
                if verbose:
                    console.print(f"epoch {record.epoch}: loss {record.train_loss:.3f}, {clock() - started:.0f} s")

    def repeat(self, count: int) -> None:
        """Train so many steps on the same batch: to time them."""
        batch = next(iter(self._data.train.epoch(0)))
        for _ in range(count):
            self.trainer.train_step(batch)

    def top1(self, number: int | None, *, paper_token: bool = True) -> float:
        """Share of the validation sketches whose class has the largest logit, seeing so many patches of each."""
        trainer = self.trainer
        keep_inked(trainer.model, None, trainer.preprocess, eval_tokens=number, paper_token=paper_token)
        assert self._data.val is not None
        return self.trainer.validate(self._data.val).top1


def create_trainer(folder: Path, model: nn.Module, **settings: object) -> Trainer:
    """What trains `model` on the data set in `folder` in every way; `settings` as those of `load_recipe`."""
    recipe = load_recipe(
        None,
        (),
        **{
            "data__path": folder,
            "data__loader": "resident",
            "data__eval_batch_size": 256,
            "augment__rotation": 10,
            "augment__shear": 5,
            "augment__normalize": "standard",  # white paper as 1 outshines the position embeddings of a new model
            "model__dropout": 0.0,  # as `create` has it
            "optimizer__name": "adamw",
            "optimizer__weight_decay": 0.05,
            "schedule__warmup_epochs": 0.5,
            "training__label_smoothing": 0.1,
            **settings,
        },
    )
    eager = ExecutionConfig("eager", True, recipe.data.batch_size)
    return Trainer(recipe, DatasetMetadata.load(folder), resolve_device("auto"), execution=eager, model=model)
