"""A contact sheet of what an augmentation does: each technique alone, then all together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from fastsketch.augment.mix import Targets
from fastsketch.augment.params import AugmentParams
from fastsketch.augment.pipeline import SketchAugment
from fastsketch.config import AugmentConfig
from fastsketch.figures.sheet import Cell, Row, draw_sheet
from fastsketch.preprocess import Preprocess

AFFINE = {"rotation": 0.0, "translation": 0.0, "scale": (1.0, 1.0), "shear": 0.0, "flip": 0.0}
OTHERS = {"perspective": 0.0, "elastic": 0.0, "thickness": 0.0, "erasing": 0.0, "mixup": 0.0, "cutmix": 0.0}
"""The values with which each technique does nothing."""

NAMES = {
    "perspective": "perspective",
    "elastic": "elastic",
    "thickness": "thickness",
    "erasing": "erasing",
    "mixup": "MixUp",
    "cutmix": "CutMix",
}
TOGETHER = "all together"

ALWAYS = {"thickness": 1.0, "erasing": 1.0, "mix_probability": 1.0}
"""A technique shown alone is applied to every picture, whatever its probability."""


class AugmentedRow(NamedTuple):
    """One technique: its name, gray values in [0, 1] [B, 1, S, S], two lines under each picture, CutMix's boxes."""

    name: str
    images: Tensor
    captions: list[tuple[str, str]]
    boxes: list[list[int]]


def preview_rows(
    config: AugmentConfig, images: Tensor, labels: Tensor, classes: Sequence[str], seed: int
) -> list[AugmentedRow]:
    """The originals, every technique that `config` turns on, and all of them as in training, if that is another row.

    Args:
        config: As in training; its normalisation is left out, and its engine is always `fused`.
        images: uint8 [B, 1, S, S].
        labels: int64 [B].
        classes: Names in label order.
        seed: Of all random parameters.
    """
    nothing = config.model_copy(update={**AFFINE, **OTHERS, **ALWAYS, "thickness": 0.0, "erasing": 0.0})
    affine = {name: getattr(config, name) for name in AFFINE}
    techniques = []
    if affine != AFFINE:
        techniques.append(("affine + flip" if config.flip else "affine", nothing.model_copy(update=affine)))
    for key, name in NAMES.items():
        if getattr(config, key) != OTHERS[key]:
            value = ALWAYS.get(key, getattr(config, key))
            techniques.append((name, nothing.model_copy(update={key: value})))
    techniques.append((TOGETHER, config))

    preprocess = Preprocess(images.shape[-1])
    original = preprocess(images)
    rows = [
        AugmentedRow("original", original, [(classes[label], "") for label in labels.tolist()], [[0] * 4] * len(labels))
    ]
    for name, technique in techniques:
        augment = SketchAugment(technique, preprocess)
        params = augment.sample_params(len(images), torch.Generator().manual_seed(seed))
        augmented, targets = augment(images, labels, params)
        boxes = [[0] * 4] * len(labels) if params.mix is None else params.mix.box.tolist()
        row = AugmentedRow(name, augmented, _captions(targets, params, classes), boxes)
        if name != TOGETHER or not any(_look_alike(row, other) for other in rows):
            rows.append(row)
    return rows


def _look_alike(one: AugmentedRow, other: AugmentedRow) -> bool:
    """Whether no pixel differs by a gray level of 255."""
    return torch.allclose(one.images, other.images, rtol=0, atol=0.5 / 255)


def _captions(targets: Targets, params: AugmentParams, classes: Sequence[str]) -> list[tuple[str, str]]:
    """What each picture shows, in which shares; how its lines were changed, if it was not mixed."""
    thicker = [1] * len(targets.labels) if params.thicker is None else params.thicker.tolist()
    thinner = [1] * len(targets.labels) if params.thinner is None else params.thinner.tolist()
    captions = []
    for own, partner, lam, up, down in zip(*(part.tolist() for part in targets), thicker, thinner, strict=True):
        if lam < 1:
            captions.append((f"λ {lam:.2f} {classes[own]}", f"{1 - lam:.2f} {classes[partner]}"))
        else:
            captions.append((classes[own], f"+{up - 1} px" if up > 1 else f"−{down - 1} px" if down > 1 else ""))
    return captions


def draw_augmentation(path: Path, rows: Sequence[AugmentedRow], title: str) -> None:
    """Draw the rows as one picture into `path`; its suffix says in which format."""
    draw_sheet(path, [Row(_cells(row), row.name) for row in rows], title)


def _cells(row: AugmentedRow) -> list[Cell]:
    parts = zip(row.images, row.captions, row.boxes, strict=True)
    return [Cell(image[0].numpy(), lines, partial(_outline, box)) for image, lines, box in parts]


def _outline(box: list[int], axes: Axes) -> None:
    """Draw CutMix's box, if there is one."""
    left, top, right, bottom = box
    if right > left and bottom > top:
        corner = (left - 0.5, top - 0.5)
        axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, color="C0", alpha=0.6, linewidth=0.7))
