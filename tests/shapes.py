"""A data set that a tiny network learns in seconds: circles, crosses and squares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastsketch.config import ConvertConfig
from fastsketch.conversion import convert_dataset
from fastsketch.sources import open_source

CLASSES = ("a circle", "cross (×)", "square")
COUNTS = {"train": 64, "val": 10, "test": 6}


def draw_shape(name: str, rng: np.random.Generator, size: int = 48) -> Image.Image:
    """One shape of random place and size, black on white."""
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    radius = int(rng.integers(size // 5, size // 3))
    x, y = (int(value) for value in rng.integers(radius + 2, size - radius - 2, 2))
    box = (x - radius, y - radius, x + radius, y + radius)
    if name == "a circle":
        pen.ellipse(box, outline=0, width=2)
    elif name == "square":
        pen.rectangle(box, outline=0, width=2)
    else:
        pen.line((x, y - radius, x, y + radius), fill=0, width=2)
        pen.line((x - radius, y, x + radius, y), fill=0, width=2)
    return image


def write_shapes(root: Path, seed: int = 0) -> Path:
    """An ImageFolder `root/<split>/<class>/<index>.png`."""
    rng = np.random.default_rng(seed)
    for split, count in COUNTS.items():
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                draw_shape(name, rng).save(folder / f"{index}.png")
    return root


def convert_shapes(root: Path, destination: Path, size: int = 32) -> Path:
    """Convert what `write_shapes` wrote."""
    convert_dataset(open_source(root), destination, ConvertConfig(size=size, workers=1))
    return destination
