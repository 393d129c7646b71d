"""What the parts of `gpu` share: where they run, on what, until when, and what they found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from rich.console import Console

from fastsketch.config import Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.recipes import load_recipe
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.trainer import Trainer

from .common import Timing, print_table
from .originals import Originals

RECIPE = "report-4-thickness"


@dataclass
class Bench:
    """What the parts share.

    Attributes:
        device: Where.
        quick: Tiny models and few rounds.
        root: A folder for data.
        deadline: Of the part under way, on `monotonic`'s clock.
        panels: For the plot, by title.
        rows: Of the Markdown table.
        left_out: What there was no time for, in this part.
        found: Results of the part under way, of which there may be some although it fails later.
        augment_ms: What the report's augmentation takes of a batch of `batch`, eager and compiled.
    """

    device: torch.device
    quick: bool
    root: Path
    deadline: float = 0.0
    panels: dict[str, list[Timing]] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    augment_ms: dict[str, float] = field(default_factory=dict)
    console: Console = field(default_factory=lambda: Console(highlight=False))

    @property
    def batch(self) -> int:
        """Images a batch, where there is no reason for another number."""
        return 8 if self.quick else 64

    @property
    def size(self) -> int:
        """Of the images, in pixels."""
        return 32 if self.quick else 224

    @cached_property
    def originals(self) -> Originals:
        """Sketches of 1111 px."""
        return Originals(self.root / "originals", copies=1 if self.quick else 4, per_class=6 if self.quick else 60)

    def has_time(self, what: str, seconds: float) -> bool:
        """Whether so many seconds are left of the part; if not, `what` is noted as left out."""
        if monotonic() + seconds < self.deadline or self.quick:
            return True
        self.left_out.append(what)
        return False

    def row(self, what: str, figure: str) -> None:
        """A line of the table for the documentation."""
        self.rows.append(f"| {what} | {figure} |")

    def show(self, title: str, timings: list[Timing], baseline: str) -> None:
        """Print timings and plot them."""
        print_table(title, timings, baseline)
        self.panels[title] = timings

    def recipe(self, model: str, batch: int, **settings: Any) -> Recipe:
        """The report's, for another model."""
        return load_recipe(
            RECIPE,
            data__path=self.originals.converted(self.size),
            data__batch_size=batch,
            model__name=model,
            optimizer__lr=1e-4,
            schedule__name="constant",
            **settings,
        )

    def trainer(self, recipe: Recipe, mode: str, device: torch.device | None = None) -> Trainer:
        """A trainer whose step is made, in a mode of `training.compile`."""
        assert recipe.data.path is not None
        execution = ExecutionConfig(mode, True, recipe.data.batch_size)  # type: ignore[arg-type]
        trainer = Trainer(recipe, DatasetMetadata.load(recipe.data.path), device or self.device, execution=execution)
        trainer.enter_phase(checked=False)
        return trainer
