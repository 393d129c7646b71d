"""Two loops over the same model from the same weights: `Trainer` itself, and the plain step that everybody writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsketch.config import Recipe
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.loaders import Batch, Loader, Sampling, open_loader
from fastsketch.training.execution.compile import compiled, trial_batch
from fastsketch.training.execution.config import ExecutionConfig
from fastsketch.training.execution.precision import autocast, resolve_precision
from fastsketch.training.trainer import Trainer

from .watch import Outcome

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Task:
    """What all contenders of a table train, and how: eager or compiled, channels last, a whole batch at once.

    Attributes:
        recipe: Names the model, its optimizer and precision, the batch size and the ranges of augmentation.
        folder: The converted data set.
        device: Where.
        compiled: Whether everything that can be compiled is.
    """

    recipe: Recipe
    folder: Path
    device: torch.device
    compiled: bool
    dataset: DatasetMetadata = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", DatasetMetadata.load(self.folder))

    @property
    def batch(self) -> int:
        """Images a step."""
        return self.recipe.data.batch_size

    @property
    def classes(self) -> int:
        """Classes of the data set."""
        return len(self.dataset.classes)

    @property
    def precision(self) -> torch.dtype:
        """What the model computes in."""
        return resolve_precision(self.recipe.training.precision, self.device)

    def trainer(self) -> Trainer:
        """A new trainer; its weights are the same each time."""
        execution = ExecutionConfig("default" if self.compiled else "eager", True, self.batch)
        return Trainer(self.recipe, self.dataset, self.device, execution=execution)

    def loader(self) -> Loader:
        """The training split on the device, in shuffled batches."""
        sampling = Sampling(self.batch, shuffle=True, drop_last=True)
        return open_loader(self.folder, self.dataset, "train", sampling, self.device, name="resident")

    def trial(self) -> Batch:
        """A batch as the loader's, always the same."""
        return trial_batch(self.batch, self.dataset.size, self.classes, self.device)

    def fixed(self, steps: int) -> Batches:
        """That batch again and again as the model's input: float32 [B, 1, S, S] in [0, 1], labels int64 [B]."""
        batch = self.trial()
        return [(batch.images.float() / 255, batch.labels)] * steps


class OurLoop:
    """`Trainer` on the resident loader. Compiled means compiled, even where `fit` would find eager mode faster."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.loader = task.loader()
        self.trainer = task.trainer()
        self.trainer.enter_phase(checked=False)
        self.batches = self._batches()

    def steps(self, number: int) -> Outcome:
        """So many steps more; epochs follow each other without an end."""
        loss_sum = torch.zeros((), device=self.task.device)
        for batch in islice(self.batches, number):
            loss_sum += self.trainer.train_step(batch)
        return Outcome(number * self.task.batch, float(loss_sum) / number)

    def epoch(self) -> Outcome:
        """One epoch more."""
        for _ in self.trainer.train_epoch(self.loader):
            pass
        record, _ = self.trainer.end_epoch(None)
        return Outcome(len(self.loader) * self.task.batch, record.train_loss)

    def _batches(self) -> Iterator[Batch]:
        for epoch in count():
            yield from self.loader.epoch(epoch)


class BareLoop:
    """The loop that everybody writes, on the model, the optimizer and the scaler that `Trainer` makes.

    Attributes:
        model: In training mode.
    """

    def __init__(self, task: Task) -> None:
        trainer = task.trainer()
        self.model: nn.Module = trainer.model.train()
        self.optimizer, self.scaler = trainer.state.optimizer, trainer.state.scaler
        self.task = task
        self.loss_of: Callable[[Tensor, Tensor], Tensor] = self.eager_loss
        if task.compiled:
            self.loss_of = compiled(self.eager_loss, "default")

    def train(self, batches: Batches) -> Outcome:
        """Learn from float images [B, 1, S, S] with labels [B] or dense targets [B, C].

        It waits for the device once, at the end.
        """
        device = self.task.device
        losses, seen = [], 0
        for images, targets in batches:
            images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            self.optimizer.zero_grad()
            loss = self.loss_of(images, targets)
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimizer)
            self.scaler.update()
            losses.append(loss.detach())
            seen += len(images)
        return Outcome(seen, float(torch.stack(losses).mean()))

    def eager_loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Forward pass and loss, not compiled."""
        with autocast(images.device, self.task.precision):
            logits = self.model(images)
        return F.cross_entropy(logits.float(), targets)
