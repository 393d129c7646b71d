"""`resume.pt`: what the next step needs, and what the run was made with; whatever is wrong with it is told in a line.

Nothing but tensors and plain values is ever unpickled.
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from torch import Tensor

from fastsketch import atomic
from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import save_trained
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import EpochRecord, checked_records
from fastsketch.training.run.model_files import holds_model
from fastsketch.training.run.saving import saving
from fastsketch.training.state import TrainState

log = logging.getLogger(__name__)

RESUME_VERSION = 3
"""Raised whenever an older `resume.pt` could not be continued."""

Count = Annotated[int, Field(ge=0)]


class Saved(BaseModel):
    """What a `resume.pt` holds, checked as a whole.

    Attributes:
        origin: The file.
        model: Weights, by name.
        ema: Those of the moving average, if there is one.
        optimizer: Its state.
        scaler: That of the loss's scale; empty where it needed none.
        loss_sum: See `TrainState`, as are the next six.
        execution: On a CPU, how a step ran: what `auto` came to.
        records: Of all whole epochs.
        recipe: What the run was made with.
        dataset_sha256: Checksum of what it was trained on.
        classes: Their names, in label order.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", strict=True, frozen=True)

    origin: Path
    model: dict[str, Tensor]
    ema: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    loss_sum: Annotated[float, Field(allow_inf_nan=False)]
    epoch: Count
    steps: Count
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    best_top1: Annotated[float, Field(ge=-1, le=1)]
    best_epoch: Count
    compiled: dict[str, bool] = {}
    execution: dict[str, Any] | None = None
    records: list[EpochRecord]
    recipe: Recipe
    dataset_sha256: str
    classes: list[str]

    @field_validator("records", mode="before")
    @classmethod
    def _records(cls, value: object) -> object:
        return checked_records(value)

    @field_validator("recipe", mode="before")
    @classmethod
    def _recipe(cls, value: object) -> object:
        return Recipe.model_validate(value)

    @model_validator(mode="after")
    def _agree(self) -> Saved:
        if len(self.records) != self.epoch:
            raise ValueError(f"{len(self.records)} records of {self.epoch} epochs")
        if self.best_epoch > self.epoch:
            raise ValueError(f"the best of {self.epoch} epochs is the {self.best_epoch}th")
        return self


def saveable(
    state: Mapping[str, Any], records: list[EpochRecord], recipe: Recipe, dataset: DatasetMetadata
) -> dict[str, Any]:
    """Everything that `Saved` reads, as tensors and plain values.

    Args:
        state: A trainer's, between two steps.
        records: Of all whole epochs.
        recipe: As resolved.
        dataset: What is trained on.
    """
    return {
        **state,
        "records": [asdict(record) for record in records],
        "recipe": recipe.model_dump(mode="json"),
        "dataset_sha256": dataset.checksum(),
        "classes": list(dataset.classes),
    }


def save_resume(path: Path, state: Mapping[str, Any]) -> None:
    """Write what the next step needs, atomically; what was there before is kept as `previous_resume(path)`.

    Between the two renames there is the one before alone, which is whole.

    Raises:
        FastSketchError: It cannot be written.
    """
    with saving(path), atomic.replacing(path) as temporary:
        torch.save({"format_version": RESUME_VERSION, **state}, temporary)
        atomic.sync(temporary)
        if path.is_file():
            os.replace(path, previous_resume(path))


def previous_resume(path: Path) -> Path:
    """Where `save_resume` keeps the state before the last."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def saved_states(path: Path) -> Iterator[Saved]:
    """What `save_resume` wrote last, then, for him who cannot use that, before; nothing if nothing was saved yet.

    What is damaged is passed over, with a line in the log.

    Raises:
        DataError: There is nothing more that can be used, or it was written by another version of fastsketch.
    """
    paths = [each for each in (path, previous_resume(path)) if each.is_file()]
    for each in paths:
        try:
            yield _read(each)
        except ValueError as error:
            log.warning("%s is damaged (%s)", each, error)
    if paths:
        raise DataError(
            f"{path} cannot be used, nor what was saved before it",
            hint=f"the weights in {path.parent / 'last'} are those of the last whole epoch: train from them with "
            "--weights, in another --out",
        )


class Restorable(Protocol):
    """What a saved state is loaded into: a `Trainer`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Trainer.load_state_dict`."""
        ...


def restore(trainer: Restorable, saved: Saved, before: Iterator[Saved]) -> Saved:
    """Bring a trainer to what was saved, or, if that is no state of its model, to what was saved before.

    Args:
        trainer: Of the run's recipe.
        saved: From `saved_states`.
        before: The rest of them.

    Returns:
        What was restored.

    Raises:
        DataError: None of them fits.
    """
    while True:
        try:
            trainer.load_state_dict(dict(saved))
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            log.warning("%s does not fit the model (%s)", saved.origin, _line(error))
            saved = next(before)
        else:
            return saved


def remake_models(run: Run, state: TrainState, preprocess: Preprocess, dataset: DatasetMetadata) -> bool:
    """Write what somebody removed of `last/` and `best/`, as far as the state still holds it.

    Returns:
        Whether the best epoch so far is still there.
    """
    if not holds_model(run.last):
        save_trained(state.eval_model, run.last, preprocess, dataset)
    if holds_model(run.best) or state.epoch == 0:
        return True
    if state.steps == 0 and state.best_epoch in (0, state.epoch):  # 0: without validation each epoch is the best
        save_trained(state.eval_model, run.best, preprocess, dataset)
        return True
    if state.best_epoch:
        log.warning(
            "%s, with the weights of epoch %d, is gone: the best epoch from here on takes its place",
            run.best,
            state.best_epoch,
        )
    return state.best_epoch == 0


def _read(path: Path) -> Saved:
    """One file, its checksums verified.

    Raises:
        DataError: It is another version's.
        ValueError: It is damaged, and how.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and does not read them
            damaged = archive.testzip()
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or made up, it makes its readers raise whatever they like
        raise ValueError(_line(error)) from error
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} differs")
    if not isinstance(values, dict) or type(version := values.pop("format_version", None)) is not int:
        raise ValueError("no state of a training")
    if version != RESUME_VERSION:
        raise DataError(
            f"{path} has version {version}, this fastsketch reads version {RESUME_VERSION}",
            hint="continue the run with the fastsketch that wrote it",
        )
    try:
        return Saved(origin=path, **values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")) from error
    except (TypeError, ConfigError) as error:
        raise ValueError(_line(error)) from error


def _line(error: Exception) -> str:
    """The first line, or the first two where that only announces the second."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[:2]) if lines[0].endswith(":") else lines[0]
