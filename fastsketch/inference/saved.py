"""A saved model and all that goes with it: everything that can be told, and found wrong, before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from fastsketch.config import TrainingConfig
from fastsketch.conversion.reading import Reading
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.classes import difference
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import SavedConfig, holds_model

Source: TypeAlias = Run | str | Path
"""A run, or its folder, or the folder of a model."""

CHECKPOINTS = ("best", "last")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model that can be asked, without its weights.

    Attributes:
        folder: With `model.safetensors` and `config.json`.
        classes: Their names, in label order.
        reading: How an original became what the model was trained on.
        flip: Whether each image's mirror image is shown too.
        precision: What it computes in, as `training.precision` says it.
        temperature: What its logits are divided by.
    """

    folder: Path
    classes: list[str]
    reading: Reading
    flip: bool
    precision: str
    temperature: float

    @classmethod
    def find(cls, source: Source, checkpoint: str = "best") -> SavedModel:
        """The model of a run, or of a folder with `model.safetensors` and `config.json`.

        Such a folder, unless it is a run's, says nothing of the data set: sketches are then made as large as the
        model's input at once, and are not mirrored.

        Args:
            source: Where it is.
            checkpoint: `best` or `last`, of a run; its folder is a source as well.

        Raises:
            ConfigError: There is no run and no model.
            DataError: What is there is damaged.
        """
        root = source.root if isinstance(source, Run) else Path(source)
        if root.name in CHECKPOINTS and Run(root.parent).config.is_file():
            root, checkpoint = root.parent, root.name
        if holds_model(root) and not Run(root).config.is_file():
            saved = SavedConfig.read(root)
            if len(saved.label_names) != saved.num_classes:
                raise DataError(f"{root / 'config.json'} does not name the model's classes")
            precision = TrainingConfig().precision
            return cls(root, saved.label_names, Reading(saved.size), False, precision, saved.temperature)
        run = Run.open(root)
        folder = run.root / checkpoint
        if checkpoint not in CHECKPOINTS or not holds_model(folder):
            raise ConfigError(f"{folder} holds no model", hint="a run has best and last, as soon as an epoch is over")
        recipe, dataset = run.recipe(), run.dataset()
        return cls(
            folder,
            dataset.classes,
            Reading.of(dataset),
            recipe.evaluation.flip,
            recipe.training.precision,
            SavedConfig.read(folder).temperature,
        )

    @classmethod
    def find_all(cls, sources: Iterable[Source], checkpoint: str = "best") -> list[SavedModel]:
        """Models that can be asked together: of the same classes.

        Raises:
            ConfigError: There are none, one is not there, or its classes are others than the first one's.
            DataError: What is there is damaged.
        """
        found = [cls.find(source, checkpoint) for source in sources]
        if not found:
            raise ConfigError("no model is named", hint="name a run, or several that are to be asked together")
        for other in found[1:]:
            if other.classes != found[0].classes:
                raise ConfigError(
                    f"{other.folder} is of other classes than {found[0].folder}",
                    hint=difference(found[0].classes, other.classes),
                )
        return found


def is_model(path: str | Path) -> bool:
    """Whether `SavedModel.find` would look for a model there: a run directory, or a model's folder."""
    return Run(path).config.is_file() or holds_model(Path(path))
