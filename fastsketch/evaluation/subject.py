"""What is to be evaluated: everything that can be found wrong with it before torch is imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.classes import check_same_classes
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata, is_run, split_parts
from fastsketch.inference.saved import CHECKPOINTS
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import MODEL_FILES, OTHER_COPY, SavedConfig
from fastsketch.urls import url_of, written


@dataclass(frozen=True, slots=True)
class Subject:
    """A saved model and the split that it is shown.

    Attributes:
        run: The run.
        recipe: As trained, with what was asked for of evaluation.
        folder: The data set.
        dataset: Its metadata.
        split: Name of the split.
        checkpoint: `best` or `last`.
        own: Whether the data set is the one that the run was trained on.
        flip: Whether each image's mirror image is shown too.
        temperature: What is saved with the model; None where this evaluation is to find it: as the model is used, on
            validation images that it was not trained on.
        name: How the files of this evaluation begin: another data set, checkpoint or split has another.
    """

    run: Run
    recipe: Recipe
    folder: Path
    dataset: DatasetMetadata
    split: str
    checkpoint: str
    own: bool
    flip: bool
    temperature: float | None
    name: str

    @classmethod
    def of(
        cls, run: Run, split: str, checkpoint: str, data: Path | None, flip: bool | None, tokens: int | str | None
    ) -> Subject:
        """Arguments as those of `evaluate_run`, which are checked.

        Raises:
            ConfigError: There is no such run, model, data set or split, or the data set does not suit the run.
            DataError: `config.yaml` or a `dataset.json` is damaged, or the model is another data set's.
        """
        run = Run.open(run.root)
        recipe = run.recipe([] if tokens is None else [f"model.eval_tokens={tokens}"])
        usual = flip is None and tokens is None
        flip = recipe.evaluation.flip if flip is None else flip
        _check_model(run, checkpoint)
        trained = run.dataset()
        _check_classes(run, checkpoint, trained)
        folder = data if data is not None else _found(run, recipe, trained)
        dataset = DatasetMetadata.load(folder)
        own = dataset.checksum() == trained.checksum()
        _check_fit(run, trained, folder, dataset)
        _check_split(dataset, split)
        name = f"{checkpoint}-{split}" + ("" if own else f"-{_name_of(folder, dataset)}")
        name += "-flip" * flip + ("" if tokens is None else f"-tokens-{recipe.model.eval_tokens}")
        finds = usual and own and split == "val" and recipe.data.train_split == "train"
        temperature = None if finds else SavedConfig.read(run.root / checkpoint).temperature
        return cls(run, recipe, folder, dataset, split, checkpoint, own, flip, temperature, name)


def _check_model(run: Run, checkpoint: str) -> None:
    if checkpoint not in CHECKPOINTS:
        raise ConfigError(f"no checkpoint '{checkpoint}'", hint=f"there are: {', '.join(CHECKPOINTS)}")
    for name in MODEL_FILES:
        if not (run.root / checkpoint / name).is_file():
            raise ConfigError(
                f"{run.root / checkpoint} holds no model: {name} is missing",
                hint=f"continue the training: fastsketch train --resume {run.root}",
            )


def _check_classes(run: Run, checkpoint: str, trained: DatasetMetadata) -> None:
    path = run.root / checkpoint / "config.json"
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # `load_model` says what is wrong with it
    if not isinstance(config, dict):
        return
    count = config.get("num_classes")
    if count != len(trained.classes) or config.get("label_names", trained.classes) != trained.classes:
        raise DataError(
            f"{path} is of a model with other classes than the data set that {run.root} was trained on",
            hint=OTHER_COPY,
        )


def _found(run: Run, recipe: Recipe, trained: DatasetMetadata) -> Path:
    """The data set that a run was trained on, which may have moved together with the run.

    A relative path is relative to where the training was started: here, or above the run.
    """
    path = recipe.data.path
    if path is None:
        raise ConfigError(f"{run.config} names no data set", hint="name it with --data")
    if url_of(path):
        return path
    there = [each for each in _places(run, path) if (each / FILE_NAME).is_file() and not is_run(each)]
    if not there:
        raise ConfigError(f"{path}, the data set of {run.root}, is not there", hint="say where it is with --data")
    if len(there) > 1:
        same = (each for each in there if DatasetMetadata.load(each).checksum() == trained.checksum())
        return next(same, there[0])
    return there[0]


def _places(run: Run, path: Path) -> Iterator[Path]:
    yield path
    if not path.is_absolute():
        for folder in run.root.resolve().parents:
            yield folder / path


def _check_fit(run: Run, trained: DatasetMetadata, folder: Path, dataset: DatasetMetadata) -> None:
    message = f"{written(folder)} has other classes than the data set that {run.root} was trained on"
    check_same_classes(trained.classes, dataset.classes, message)
    if trained.size != dataset.size:
        raise ConfigError(
            f"{run.root} was trained on {trained.size} px images, {written(folder)} has {dataset.size} px",
            hint=f"convert its images with --size {trained.size}",
        )


def _check_split(dataset: DatasetMetadata, split: str) -> None:
    dataset.split(split)
    parts = split_parts(split)
    if len(parts) > len(set(parts)):
        raise ConfigError(f"'{split}' counts a split more than once", hint="name each once: train+val")


def _name_of(folder: Path, dataset: DatasetMetadata) -> str:
    """Another data set in a file name: two of the same folder name have different ones."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', folder.resolve().name)[:40]}-{dataset.checksum()[:8]}"
