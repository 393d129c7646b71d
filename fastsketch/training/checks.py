"""What makes a training impossible and can be seen without torch, which takes seconds to import."""

from __future__ import annotations

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.urls import written


def check_data(recipe: Recipe) -> DatasetMetadata:
    """The data set of a recipe, which has what a training with it needs.

    Raises:
        ConfigError: There is no data set, no split to validate on, or there are fewer images than a batch has.
        DataError: Its metadata are damaged.
    """
    folder = recipe.data.path
    if folder is None:
        raise ConfigError("no data set given", hint="name a converted data set: fastsketch train DATA")
    dataset = DatasetMetadata.load(folder)
    if recipe.data.train_split == "train" and "val" not in dataset.splits:
        made = dataset.source.split
        raise ConfigError(
            f"{written(folder)} has no 'val' split, by which the best epoch is chosen",
            hint="convert it again with --overwrite --split 0.9/0.1, which divides train/"
            if made is None
            else f"--split {made} left no image for it: convert again with --overwrite --split 0.5/0.5, or more images",
        )
    images = dataset.split(recipe.data.train_split).samples
    if recipe.data.batch_size > images:
        raise ConfigError(f"a batch of {recipe.data.batch_size} is more than the {images} training images")
    classes = len(dataset.classes)
    if recipe.model.head_init == "ridge" and images < classes:
        raise ConfigError(f"model.head_init=ridge needs more than {images} training images of {classes} classes")
    return dataset
