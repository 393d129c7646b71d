"""`fastsketch preview`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from .console import console, error_boundary

if TYPE_CHECKING:
    from torch import Tensor

    from fastsketch.formats.pack import PackSplit

PICTURES = 8
"""Columns of the sheet, each of another class if there are so many."""


def command(
    data: Annotated[Path, typer.Argument(help="A converted data set.")],
    recipe: Annotated[str | None, typer.Option(help="A recipe's name (see `recipes`) or a YAML file.")] = None,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf or .svg.")] = Path("preview.png"),
    seed: Annotated[int, typer.Option(help="Decides which sketches are shown, and all that is random.")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Any key: augment.thickness=1")] = None,
) -> None:
    """Draw what a recipe's augmentation makes of the training sketches: each technique alone, then all together."""
    with error_boundary():
        from fastsketch.augment.preview import draw_sheet, preview_rows
        from fastsketch.config import load_recipe
        from fastsketch.errors import ConfigError
        from fastsketch.formats.metadata import DatasetMetadata
        from fastsketch.formats.pack import PackSplit

        if seed < 0:
            raise ConfigError("--seed is 0 or more")
        if out.suffix not in (".png", ".pdf", ".svg"):
            raise ConfigError(f"{out}: a picture of this kind cannot be written", hint="name a .png, .pdf or .svg file")
        augment = load_recipe(recipe, set_ or ()).augment
        dataset = DatasetMetadata.load(data)
        images, labels = _choose(PackSplit(data, dataset, "train"), seed)
        rows = preview_rows(augment, images, labels, dataset.classes, seed)
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_sheet(out, rows, title=f"{data.name}, {recipe or 'default augmentation'}, seed {seed}")
        console.print(f"[bold]{escape(str(out))}[/]: {', '.join(row.name for row in rows)}", soft_wrap=True)


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
