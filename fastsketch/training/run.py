"""The run directory: one folder with everything that a training left behind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.recipes import load_recipe

CHANGEABLE = {
    "description",
    "data.path",
    "data.eval_batch_size",
    "training.epochs",
    "training.device",
    "training.compile",
    "training.micro_batch",
    "training.patience",
    "training.max_minutes",
    "training.save_minutes",
    "training.trackers",
}
"""What may differ when a run is continued. A longer one goes on along the schedule of its new length."""


class Run:
    """Paths inside a run directory.

    | path                           | content                                                              |
    |--------------------------------|----------------------------------------------------------------------|
    | `config.yaml`                  | the resolved recipe: `--recipe RUN/config.yaml` repeats the run      |
    | `dataset.json`                 | a copy of the data set's metadata, with the class names              |
    | `run.json`                     | command, versions, hardware and data of every session                |
    | `metrics.jsonl`, `metrics.csv` | one record an epoch                                                  |
    | `last/`, `best/`               | weights and configuration that plain timm opens as `local-dir:`      |
    | `resume.pt`                    | what the next step needs                                             |
    | `evaluation/`, `plots/`        | tables and pictures                                                  |
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.yaml"
        self.record = root / "run.json"
        self.metrics = root / "metrics.jsonl"
        self.last = root / "last"
        self.best = root / "best"
        self.resume = root / "resume.pt"
        self.evaluation = root / "evaluation"
        self.plots = root / "plots"

    @classmethod
    def open(cls, root: Path) -> Run:
        """A run that exists.

        Raises:
            ConfigError: The folder is no run directory.
        """
        run = cls(root)
        if not run.config.is_file():
            raise ConfigError(f"{root} is not a run directory (it has no config.yaml)")
        return run

    def recipe(self, overrides: Iterable[str] = ()) -> Recipe:
        """The resolved recipe of the run, with dotted overrides."""
        return load_recipe(str(self.config), overrides)

    def dataset(self) -> DatasetMetadata:
        """The metadata of the data set that the run was trained on."""
        return DatasetMetadata.load(self.root)

    def create(self, recipe: Recipe, dataset: DatasetMetadata) -> None:
        """Make the directory with its configuration.

        Raises:
            ConfigError: It holds a run already.
        """
        if self.config.exists():
            raise ConfigError(f"{self.root} holds a run already", hint="continue it with --resume, or choose another")
        for folder in (self.last, self.best, self.plots):
            folder.mkdir(parents=True, exist_ok=True)
        dataset.save(self.root)
        recipe.save(self.config)

    def check(self, recipe: Recipe, dataset: DatasetMetadata) -> None:
        """Make sure that a training with `recipe` on `dataset` can continue this run.

        Raises:
            ConfigError: The data set is another, or a setting that would make it another training.
        """
        before = self.dataset()
        if not self.holds(dataset):
            raise ConfigError(f"{recipe.data.path} has other classes than the data set that {self.root} was trained on")
        if before.checksum() != dataset.checksum():
            raise ConfigError(
                f"{recipe.data.path} has other images than the data set that {self.root} was trained on",
                hint="start a new run, from this one's weights with --weights",
            )
        old, new = _settings(self.recipe()), _settings(recipe)
        changed = [key for key in old if new[key] not in (old[key], "auto") and key not in CHANGEABLE]
        if changed:
            key = changed[0]
            raise ConfigError(
                f"{self.root} was trained with {key}={old[key]}, not {new[key]}"
                + (f" (and {len(changed) - 1} more differences)" if len(changed) > 1 else ""),
                hint="continue it with --resume alone, or choose another --out",
            )

    def holds(self, dataset: DatasetMetadata) -> bool:
        """Whether `dataset` has the classes, in the order, that the run was trained on."""
        return self.dataset().classes == dataset.classes


def _settings(recipe: Recipe) -> dict[str, object]:
    """All settings by their dotted keys."""
    return {
        f"{stage}.{key}" if isinstance(values, dict) else stage: value
        for stage, values in recipe.model_dump(mode="json").items()
        for key, value in (values.items() if isinstance(values, dict) else [("", values)])
    }
