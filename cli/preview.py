"""`fastsketch preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, plain

if TYPE_CHECKING:
    from torch import Tensor

    from fastsketch.config import Recipe
    from fastsketch.formats.metadata import DatasetMetadata
    from fastsketch.formats.pack import PackSplit

PICTURES = 8
"""Columns of the sheet, each of another class if there are so many."""


def command(
    data: Annotated[Path, typer.Argument(help="A converted data set.")],
    recipe: Annotated[str | None, typer.Option(help="A recipe's name (see `recipes`) or a YAML file.")] = None,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf or .svg.")] = Path("preview.png"),
    seed: Annotated[int, typer.Option(help="Decides which sketches are shown, and all that is random.")] = 0,
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Draw which patches a vision transformer sees (model.tokens) instead.")
    ] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any key: augment.thickness=1")] = None,
) -> None:
    """Draw what a recipe's augmentation makes of the training sketches: each technique alone, then all together."""
    from fastsketch.errors import ConfigError
    from fastsketch.figures.picture import check_picture
    from fastsketch.formats.metadata import DatasetMetadata
    from fastsketch.formats.pack import PackSplit
    from fastsketch.recipes import load_recipe

    if not 0 <= seed < 2**63:
        raise ConfigError("--seed is from 0 to 9,223,372,036,854,775,807")
    config = load_recipe(recipe, set_ or ())
    dataset = DatasetMetadata.load(data)
    check_picture(out, dataset=data)
    split = PackSplit(data, dataset, "train")

    from fastsketch.figures.augmentation import draw_augmentation, preview_rows  # here torch begins

    images, labels = _choose(split, seed)
    if tokens:
        told = _draw_tokens(out, config, data, dataset, images, labels, seed)
    else:
        rows = preview_rows(config.augment, images, labels, dataset.classes, seed)
        draw_augmentation(out, rows, title=f"{data.name}, {recipe or 'default augmentation'}, seed {seed}")
        told = ", ".join(row.name for row in rows)
    console.print(f"[bold]{plain(out)}[/]: {plain(told)}", soft_wrap=True)


def _choose(split: PackSplit, seed: int) -> tuple[Tensor, Tensor]:
    """Sketches of as many classes as there are columns: uint8 [n, 1, S, S] and their labels."""
    import numpy as np
    import torch

    order = np.random.default_rng(seed).permutation(len(split))
    _, first = np.unique(split.labels[order], return_index=True)
    chosen = order[np.sort(first)[:PICTURES]]
    if len(chosen) < PICTURES:  # few classes: fill up with whatever comes next
        others = order[~np.isin(order, chosen)]
        chosen = np.concatenate([chosen, others[: PICTURES - len(chosen)]])
    return torch.tensor(split.images[chosen]), torch.tensor(split.labels[chosen])


def _draw_tokens(
    out: Path, recipe: Recipe, data: Path, dataset: DatasetMetadata, images: Tensor, labels: Tensor, seed: int
) -> str:
    """Draw which patches are seen of sketches in evaluation, and of augmented ones in training; returns the title."""
    from fastsketch.figures.tokens import TokenRow, draw_tokens
    from fastsketch.training.token_preview import preview_tokens

    size, grid, shown = preview_tokens(recipe, data, dataset, images, labels, seed)
    names = [dataset.classes[label] for label in labels.tolist()]
    rows = [TokenRow(name, sketches, selection, names) for name, (sketches, selection) in shown.items()]
    training, evaluation = (shown[name][1].kept.shape[1] for name in ("training", "evaluation"))
    differing = "" if evaluation == training else f", {evaluation} in evaluation"
    title = f"{recipe.model.name}, {size} px: {training} of {grid[0] * grid[1]} patches{differing}"
    draw_tokens(out, rows, grid, title)
    return title
