"""A saved model and all that goes with it: everything that can be told, and found wrong, before torch is imported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, get_args

from xxhash import xxh3_128

from fastsketch.config import TrainingConfig
from fastsketch.config.data import Invert
from fastsketch.conversion.paper import require_opencv
from fastsketch.conversion.reading import Reading
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.classes import check_same_classes
from fastsketch.training.run.directory import Run
from fastsketch.training.run.model_files import SavedConfig, checksum_of, holds_model

Source: TypeAlias = Run | str | Path
"""A run, or its folder, or the folder of a model, or a file that was exported."""

CHECKPOINTS = ("best", "last")

EXPORTED = (".onnx", ".pt2")
"""How names of exported files end."""

INVERT = get_args(Invert)


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model that can be asked, without its weights.

    It may be a file that was exported, which has mirror image and temperature inside.

    Attributes:
        folder: With `model.safetensors` and `config.json`; or a file that was exported.
        architecture: timm's name of it.
        classes: Their names, in label order.
        reading: How an original became what the model was trained on.
        flip: Whether each image's mirror image is shown too.
        precision: What it computes in, as `training.precision` says it.
        temperature: What its logits are divided by.
    """

    folder: Path
    architecture: str
    classes: list[str]
    reading: Reading
    flip: bool
    precision: str
    temperature: float

    @classmethod
    def find(cls, source: Source, checkpoint: str = "best") -> SavedModel:
        """The model of a run, or of a folder with `model.safetensors` and `config.json`.

        Such a folder, unless it is a run's, says nothing of mirror images, which are then not looked at.

        Args:
            source: Where it is.
            checkpoint: `best` or `last`, of a run; its folder is a source as well.

        Raises:
            ConfigError: There is no run and no model.
            DataError: What is there is damaged.
        """
        root = source.root if isinstance(source, Run) else Path(source)
        if root.suffix in EXPORTED:
            return cls._of_export(root)
        if root.name in CHECKPOINTS and Run(root.parent).config.is_file():
            root, checkpoint = root.parent, root.name
        if holds_model(root) and not Run(root).config.is_file():
            saved = SavedConfig.read(root)
            if len(saved.label_names) != saved.num_classes:
                raise DataError(f"{root / 'config.json'} does not name the model's classes")
            precision = TrainingConfig().precision
            reading = Reading(saved.size) if saved.reading is None else Reading.of(saved.reading)
            return cls(root, saved.architecture, saved.label_names, reading, False, precision, saved.temperature)
        run = Run.open(root)
        folder = run.root / checkpoint
        if checkpoint not in CHECKPOINTS or not holds_model(folder):
            raise ConfigError(f"{folder} holds no model", hint="a run has best and last, as soon as an epoch is over")
        recipe, dataset, saved = run.recipe(), run.dataset(), SavedConfig.read(folder)
        return cls(
            folder,
            saved.architecture,
            dataset.classes,
            Reading.of(dataset),
            recipe.evaluation.flip,
            recipe.training.precision,
            saved.temperature,
        )

    @classmethod
    def _of_export(cls, path: Path) -> SavedModel:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        from fastsketch.inference.exported import describe

        described = describe(path)
        # Mirror image and temperature are inside.
        return cls(path, described.model, described.classes, Reading.of(described.reading), False, "float32", 1.0)

    @property
    def exported(self) -> bool:
        """Whether `folder` is a file that `fastsketch export` wrote."""
        return self.folder.suffix in EXPORTED

    def identity(self) -> str | None:
        """What tells its weights from others; None of weights that another program wrote.

        Raises:
            DataError: They are damaged.
        """
        if self.exported:
            return xxh3_128(self.folder.read_bytes()).hexdigest()
        return checksum_of(self.folder)

    def read_as(self, invert: str | None, clean_photo: bool | None) -> SavedModel:
        """The same, with originals read in another way; None is what the data set says.

        Raises:
            ConfigError: There is no such way.
            BackendMissing: Photographs are to be cleaned, and OpenCV is not installed.
        """
        if invert not in (None, *INVERT):
            raise ConfigError(f"--invert {invert}", hint=", ".join(INVERT))
        reading = self.reading._replace(
            invert=self.reading.invert if invert is None else invert,
            clean_photo=self.reading.clean_photo if clean_photo is None else clean_photo,
        )
        if reading.clean_photo:
            require_opencv()
        return replace(self, reading=reading)

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
            message = f"{other.folder} is of other classes than {found[0].folder}"
            check_same_classes(found[0].classes, other.classes, message)
        return found


def is_model(path: str | Path) -> bool:
    """Whether `SavedModel.find` would look for a model there: a run directory, a model's folder, an exported file."""
    return Run(path).config.is_file() or holds_model(Path(path)) or Path(path).suffix in EXPORTED
