"""From whatever people have of a sketch to what a data set stores of it: the same bytes as `convert` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from fastsketch.conversion.decode import DecodeError, Reading, decode, decode_picture
from fastsketch.errors import ConfigError, DataError, one_line
from fastsketch.sources.sample import ImageSample, StrokeSample

Sketch: TypeAlias = str | os.PathLike[str] | Image.Image | npt.NDArray[np.uint8] | Mapping[str, object]
"""A file, a picture, its pixels (uint8 [H, W], or [H, W, 1, 3 or 4]), or a Quick, Draw! record: `{"drawing": [[xs, ys],
…]}`."""

CHANNELS = (1, 3, 4)
"""Of an array of pixels: gray, RGB, RGBA."""


def is_one(sketches: object) -> bool:
    """Whether that is one sketch, rather than several."""
    return isinstance(sketches, str | os.PathLike | Image.Image | np.ndarray | Mapping)


def read_sketch(sketch: Sketch, reading: Reading) -> npt.NDArray[np.uint8]:
    """Read one sketch, of any size, upright, on white paper.

    Args:
        sketch: Of any kind.
        reading: How.

    Returns:
        uint8 [size, size], paper = 255.

    Raises:
        ConfigError: It is no sketch of a kind that is known.
        DataError: It cannot be decoded.
    """
    try:
        match sketch:
            case str() | os.PathLike():
                return decode(ImageSample(os.fspath(sketch), Path(sketch)), reading)
            case Image.Image():
                return decode_picture(sketch, reading)
            case np.ndarray():
                return decode_picture(_picture(sketch), reading)
            case Mapping():
                return decode(StrokeSample("drawing", _record(sketch)), reading)
    except DecodeError as error:
        raise DataError(f"{_name(sketch)}: {error}") from error
    raise ConfigError(
        f"{type(sketch).__name__} is no sketch", hint="give a path, a PIL image, uint8 pixels, or {'drawing': strokes}"
    )


def _picture(pixels: npt.NDArray[np.generic]) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in CHANNELS):
        raise ConfigError(
            f"pixels are {pixels.dtype} {list(pixels.shape)}, not uint8 [H, W] or [H, W, 1, 3 or 4]",
            hint="gray values run from 0, ink, to 255, paper",
        )
    if not pixels.size:
        raise DecodeError("it has no pixels")
    return Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)


def _record(drawing: Mapping[str, object]) -> bytes:
    def plain(value: object) -> object:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} is neither a number nor a list of them")

    try:
        return json.dumps({"drawing": drawing.get("drawing")}, default=plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DecodeError(one_line(error, 200)) from error


def _name(sketch: object) -> str:
    return one_line(os.fspath(sketch), 200) if isinstance(sketch, str | os.PathLike) else "the sketch"
