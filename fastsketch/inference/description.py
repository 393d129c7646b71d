"""What an exported file says of itself, in its own metadata."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fastsketch.errors import DataError
from fastsketch.training.run.model_files import SavedReading
from fastsketch.version import __version__

KEY = "fastsketch"
"""Of the metadata entry, in ONNX; in a `.pt2` a file of this name."""


class Parity(BaseModel):
    """How an exported file compares with the model that it was made of, on real sketches.

    Attributes:
        sketches: So many.
        largest_difference: Of any probability, in any batch size.
        same_top1: Share of the sketches that get the same class, in [0, 1].
        milliseconds: Of a batch, by its size: the median of the file's, and of PyTorch's in eager mode on the CPU.
    """

    sketches: int
    largest_difference: float
    same_top1: float
    milliseconds: dict[str, tuple[float, float]]


class Description(BaseModel):
    """See the module.

    Attributes:
        model: timm's name of the architecture.
        classes: In label order.
        reading: How a file becomes the input, uint8 [B, 1, size, size], paper = 255.
        temperature: What logits were divided by, inside.
        flip: Whether the mirror image is looked at, inside.
        tokens: Patches that a transformer is shown; None for all.
        precision: `float32`, or `int8` for weights and activations.
        parity: With the model that it was made of; None until it is known.
        top1: On the validation sketches, in [0, 1], of an int8 model; None of others, which are the same model.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    fastsketch: str = __version__
    model: str
    classes: list[str]
    reading: SavedReading
    temperature: float = 1.0
    flip: bool = False
    tokens: int | None = None
    precision: Literal["float32", "int8"] = "float32"
    parity: Parity | None = None
    top1: float | None = None

    @classmethod
    def parse(cls, text: str | None, name: object) -> Description:
        """What was written into the metadata.

        Raises:
            DataError: There is none, or it is another program's.
        """
        if text is None:
            raise DataError(
                f"{name} was not made by `fastsketch export`: its metadata has no '{KEY}'",
                hint="without it nobody knows its classes, or how its input is made of a file",
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(f"{name}: its metadata '{KEY}' are damaged ({where}: {first['msg']})") from error
