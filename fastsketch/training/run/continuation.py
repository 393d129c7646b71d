"""Whether a training continues a run, or would be another."""

from __future__ import annotations

import logging

from fastsketch.config import Recipe, TrainingConfig
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.training.run.directory import Run
from fastsketch.training.run.metrics import read_records
from fastsketch.training.run.model_files import holds_model
from fastsketch.training.run.resume import Saved
from fastsketch.training.state import is_over
from fastsketch.urls import written

log = logging.getLogger(__name__)

CHANGEABLE = {
    "description",
    "data.path",
    "data.eval_batch_size",
    "data.verify",
    "training.epochs",
    "training.device",
    "training.compile",
    "training.micro_batch",
    "training.validate_every",
    "training.patience",
    "training.max_minutes",
    "training.save_minutes",
    "training.loggers",
}
"""What may differ when a run is continued. A longer one goes on along the schedule of its new length."""


OWN = {"description", "data.path", "model.weights", "training.device", "training.micro_batch"}
"""What may differ among the processes of one training: each machine has its own paths and devices."""


def settings_alike(recipe: Recipe) -> dict[str, object]:
    """The settings that all processes of a training have in common, by their dotted keys, as JSON can hold them."""
    return {key: value for key, value in _settings(recipe).items() if key not in OWN}


def check_continues(run: Run, recipe: Recipe, dataset: DatasetMetadata, saved: Saved | None) -> Recipe:
    """Make sure that a training with `recipe` on `dataset` can continue `run`.

    What counts is what `resume.pt` says that the run was made with: `config.yaml` may have been edited since. As long
    as there is no `resume.pt`, nothing has been trained that an edit could spoil.

    Returns:
        The recipe to go on with: what `model.tokens` said `auto` of is a number by now.

    Raises:
        ConfigError: The data set is another, or a setting that would make it another training.
    """
    if saved is not None:
        before, classes, checksum = saved.recipe, saved.classes, saved.dataset_sha256
    elif _unsaved_epochs(run):
        held = run.dataset()
        before, classes, checksum = run.recipe(), held.classes, held.checksum()
    else:
        return recipe
    data = written(recipe.data.path or "")
    if classes != dataset.classes:
        raise ConfigError(f"{data} has other classes than the data set that {run.root} was trained on")
    if checksum != dataset.checksum():
        raise ConfigError(
            f"{data} has other images than the data set that {run.root} was trained on",
            hint="start a new run, from this one's weights with --weights",
        )
    old, new = _settings(before), _settings(recipe)
    changed = [key for key in old if new[key] not in (old[key], "auto") and key not in CHANGEABLE]
    if changed:
        changes = "; ".join(f"{key}={old[key]}, not {new[key]}" for key in changed)
        raise ConfigError(
            f"{run.root} was trained with {changes}",
            hint="go on with these as they were (in config.yaml, if it was edited), or choose another --out",
        )
    if saved is not None and recipe.model.tokens == "auto":
        return recipe.model_copy(update={"model": saved.recipe.model})
    return recipe


def is_finished(saved: Saved, run: Run, config: TrainingConfig) -> bool:
    """Whether a run needs nothing more: it is over, and its models are there."""
    if not (is_over(saved.epoch, saved.best_epoch, config) and holds_model(run.last) and holds_model(run.best)):
        return False
    log.info("%s is finished, %d epochs; more --epochs continue it", run.root, saved.epoch)
    return True


def _unsaved_epochs(run: Run) -> int:
    """Whole epochs of a run without a `resume.pt`: before the first save a crash leaves one at the most.

    Raises:
        ConfigError: There are more: `resume.pt` was removed.
    """
    try:
        epochs = len(read_records(run.metrics)) if run.metrics.is_file() else 0
    except DataError:
        epochs = 0
    if epochs > 1:
        raise ConfigError(
            f"{run.root} holds a training of {epochs} epochs, but no resume.pt from which to continue it",
            hint=f"train on from {run.last} with --weights in another --out",
        )
    return epochs


def _settings(recipe: Recipe) -> dict[str, object]:
    """All settings by their dotted keys."""
    return {
        f"{section}.{key}" if isinstance(values, dict) else section: value
        for section, values in recipe.model_dump(mode="json").items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
