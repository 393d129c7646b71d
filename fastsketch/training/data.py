"""What a training is fed with: its splits, each in batches, and the check of their files beside it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from fastsketch.config import Recipe
from fastsketch.formats.metadata import DatasetMetadata, split_parts
from fastsketch.formats.verification import Verifier
from fastsketch.loaders import Loader, Sampling, open_loader
from fastsketch.training.execution.distributed import World
from fastsketch.urls import url_of


class TrainingData(NamedTuple):
    """The loaders of this process.

    Attributes:
        train: Shuffled, whole batches only.
        val: None where validation is left out.
        verifier: Of all files that the loaders have not verified on opening.
    """

    train: Loader
    val: Loader | None
    verifier: Verifier


def open_data(recipe: Recipe, dataset: DatasetMetadata, device: torch.device, world: World) -> TrainingData:
    """Open the splits that a recipe trains and validates on.

    Raises:
        ConfigError: They cannot be opened so.
        DataError: A file is damaged.
    """
    config, folder = recipe.data, recipe.data.path
    assert folder is not None, "check_data has seen it"
    opened = partial(open_loader, folder, dataset, device=device, name=config.loader, verify=config.verify)
    share = Sampling(world.share(config.batch_size), rank=world.rank, world_size=world.size)
    shuffled = replace(share, shuffle=True, seed=recipe.training.seed, drop_last=True)
    train, val = opened(config.train_split, shuffled), None
    verified = train.verified
    if config.train_split == "train":
        val = opened("val", replace(share, batch_size=config.eval_batch_size))
        verified |= val.verified
    # Of all other files damage is known before a second epoch begins; what is at a URL and not read is not fetched.
    read = {*split_parts(config.train_split), "val" if val else ""}
    splits = [record for name, record in dataset.splits.items() if name in read or url_of(folder) is None]
    others = splits if config.verify and world.local_rank == 0 else ()  # each machine may have a copy of its own
    return TrainingData(train, val, Verifier(folder, others, verified))


def open_in_order(recipe: Recipe, dataset: DatasetMetadata, device: torch.device, world: World) -> Loader:
    """This process's share of the training split as validation would see it: in order, every image once.

    It is streamed, whatever `data.loader` says: one pass is not worth a second copy of the split on the device. What
    `open_data` verifies is not verified again.

    Raises:
        DataError: A file is damaged.
    """
    config = recipe.data
    assert config.path is not None, "check_data has seen it"
    share = Sampling(config.eval_batch_size, rank=world.rank, world_size=world.size)
    return open_loader(config.path, dataset, config.train_split, share, device=device, name="pack", verify=False)
