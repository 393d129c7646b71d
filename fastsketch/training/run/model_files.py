"""The two files of a saved model: what can be told, and changed, of them without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open

from fastsketch import atomic
from fastsketch.config.data import Invert, Resize
from fastsketch.errors import DataError
from fastsketch.training.run.saving import saving

CONFIG, WEIGHTS = MODEL_FILES = ("config.json", "model.safetensors")

CHECKSUM = "fastsketch_xxh3"
"""Where `model.safetensors` itself says what its tensors are: no crash parts the two. Plain timm passes it over."""

OTHER_COPY = "take the run's other checkpoint (best or last), or copy the folder anew from where it came from"

# What a model's configuration may ask for: a damaged one must not ask for all of the memory.
_Side = Annotated[int, Field(ge=1, le=1 << 14)]
_Width = Annotated[int, Field(ge=1, le=1 << 20)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Preprocessing(BaseModel):
    input_size: tuple[Literal[1], _Side, _Side]
    mean: tuple[_Finite]
    std: tuple[_Positive]


class SavedReading(BaseModel):
    """How originals became what the model was trained on."""

    size: _Side
    resize: Resize = "bilinear"
    invert: Invert = "no"
    clean_photo: bool = False


class SavedConfig(BaseModel):
    """What of `config.json` is read here; the rest is timm's.

    Attributes:
        label_names: Of the classes, in label order.
        head_hidden: Widths of the head's hidden layers.
        eval_tokens: Patches that a transformer sees in evaluation; None for all.
        paper_token: Whether one token stands for the others.
        temperature: What its logits are divided by before they become probabilities.
        reading: How originals became what the model was trained on; None where nobody said.
    """

    architecture: str
    num_classes: _Width
    pretrained_cfg: _Preprocessing
    label_names: list[str] = []
    head_hidden: tuple[_Width, ...] = ()
    eval_tokens: _Side | None = None
    paper_token: bool = False
    temperature: _Positive = 1.0
    reading: SavedReading | None = None

    @classmethod
    def read(cls, folder: Path) -> SavedConfig:
        """Of the model in `folder`.

        Raises:
            DataError: The file is missing or damaged.
        """
        try:
            return cls.model_validate_json((folder / CONFIG).read_bytes(), strict=True)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            reason = f"{CONFIG}, {'.'.join(map(str, first['loc'])) or 'as a whole'}: {first['msg']}"
            raise unusable(folder, reason) from error
        except OSError as error:
            raise unusable(folder, f"{CONFIG}: {error.strerror}") from error

    @property
    def size(self) -> int:
        """Side of the model's input in pixels."""
        return self.pretrained_cfg.input_size[-1]


def holds_model(folder: Path) -> bool:
    """Whether both files of a model are there."""
    return all((folder / name).is_file() for name in MODEL_FILES)


def checksum_of(folder: Path) -> str | None:
    """What `model.safetensors` says its tensors are; None of one that another program wrote.

    Raises:
        DataError: It is damaged.
    """
    try:
        with safe_open(folder / WEIGHTS, "numpy") as file:
            return (file.metadata() or {}).get(CHECKSUM)
    except (OSError, SafetensorError) as error:
        raise unusable(folder, f"{WEIGHTS}: {error}") from error


def save_temperature(folder: Path, temperature: float) -> None:
    """Put a temperature into the `config.json` of a saved model, atomically. New weights are saved without one.

    Raises:
        FastSketchError: It cannot be written.
    """
    path = folder / CONFIG
    with saving(path):
        config = json.loads(path.read_bytes())
        if config.get("temperature") != temperature:
            atomic.write_json(path, {**config, "temperature": temperature})


def unusable(folder: Path, reason: str) -> DataError:
    """The error for a model that cannot be used."""
    return DataError(f"{folder} holds no usable model: {reason}", hint=OTHER_COPY)
