"""One training of the study of ink tokens' accuracy: `Trainer` on a small vision transformer, patches by the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from rich.console import Console
from torch import Tensor, nn

from fastsketch.device import resolve_device
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.models.ink_tokens import InkPatchEmbed, Selection, ink_patches
from fastsketch.recipes import load_recipe
from fastsketch.training.data import open_data
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.trainer import Trainer

console = Console(highlight=False)

GRID = 14
"""Patches along a side, as ViT-S/16 has at 224 px."""


@dataclass(frozen=True, slots=True)
class Study:
    """How large everything is."""

    size: int
    width: int
    depth: int
    classes: int | None
    drawn_classes: int | None
    drawings: int
    pretrain_epochs: int
    epochs: int
    seeds: int
    batch_size: int = 64
    lr: float = 1e-3


def create(study: Study, data: DatasetMetadata) -> nn.Module:
    """A vision transformer of the study's width and depth for the classes of `data`."""
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224",
        in_chans=1,
        num_classes=len(data.classes),
        img_size=study.size,
        patch_size=study.size // GRID,
        embed_dim=study.width,
        depth=study.depth,
        num_heads=max(1, study.width // 64),
    )
    return model


class RandomFill(InkPatchEmbed):
    """Where a sketch has too few patches with ink, any blank ones fill up, not those near the ink."""

    def choose(self, patches: Tensor, tokens: int) -> Selection:
        """The inked patches that would be seen, and blank ones by chance."""
        kept, inked = super().choose(patches, tokens)
        seen = torch.zeros_like(inked).scatter(1, kept, True) & inked
        rank = torch.rand(inked.shape, device=inked.device).masked_fill(inked, -1).masked_fill(seen, 2)
        return Selection(rank.topk(kept.shape[1], dim=1, sorted=False).indices, inked)


class Learner:
    """`Trainer` with a model, on a data set, that sees other numbers of patches from epoch to epoch.

    Args:
        study: Says how.
        folder: The data set.
        model: From `create`.
        epochs: Of the schedule.
        seed: Of the training.
        random_fill: Whether any blank patches fill up.

    Attributes:
        trainer: What trains.
    """

    def __init__(
        self, study: Study, folder: Path, model: nn.Module, *, epochs: int, seed: int = 0, random_fill: bool = False
    ) -> None:
        settings = {"training__epochs": epochs, "training__seed": seed}
        self.trainer = trainer = create_trainer(study, folder, model, **settings)
        trainer.enter_phase()
        self._data = open_data(trainer.recipe, trainer.dataset, trainer.device, trainer.world)
        self._patches = ink_patches(trainer.model, trainer.preprocess)
        if random_fill:
            self._patches.__class__ = RandomFill

    def learn(self, patches: list[int | None], *, verbose: bool = False) -> float:
        """Train, seeing so many patches (None: all) in each epoch; return the seconds it took."""
        seconds = 0.0
        for number in patches:
            self._patches.tokens = number
            for _ in self.trainer.train_epoch(self._data.train):
                pass
            record, _ = self.trainer.end_epoch(None)
            seconds += record.seconds
            if verbose:
                console.print(f"epoch {record.epoch} of {len(patches)}: loss {record.train_loss:.3f}, {seconds:.0f} s")
        return seconds

    def top1(self, number: int | None) -> float:
        """Share of the validation sketches whose class has the largest logit, seeing so many patches of each."""
        self._patches.eval_tokens = number
        assert self._data.val is not None
        return self.trainer.validate(self._data.val).top1


def create_trainer(study: Study, folder: Path, model: nn.Module, **settings: object) -> Trainer:
    """What trains `model` on the data set in `folder` in every way; `settings` as those of `load_recipe`."""
    recipe = load_recipe(
        None,
        (),
        data__path=folder,
        data__loader="resident",
        data__batch_size=study.batch_size,
        data__eval_batch_size=256,
        augment__rotation=10,
        augment__shear=5,
        augment__normalize="standard",  # white paper as 1 outshines the position embeddings of a new model
        optimizer__name="adamw",
        optimizer__lr=study.lr,
        optimizer__weight_decay=0.05,
        schedule__warmup_epochs=1,
        training__label_smoothing=0.1,
        **settings,
    )
    eager = ExecutionConfig("eager", True, study.batch_size)
    return Trainer(recipe, DatasetMetadata.load(folder), resolve_device("auto"), execution=eager, model=model)
