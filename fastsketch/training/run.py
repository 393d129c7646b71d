"""The run directory: one folder with everything that a training left behind."""

from __future__ import annotations

from pathlib import Path

from fastsketch.config import Recipe, load_recipe
from fastsketch.errors import ConfigError
from fastsketch.formats.metadata import DatasetMetadata


class Run:
    """Paths inside a run directory.

    | path                           | content                                                              |
    |--------------------------------|----------------------------------------------------------------------|
    | `config.yaml`                  | the resolved recipe: `--recipe RUN/config.yaml` repeats the run      |
    | `dataset.json`                 | a copy of the data set's metadata, with the class names              |
    | `metrics.jsonl`, `metrics.csv` | one record an epoch                                                  |
    | `last/`, `best/`               | weights and configuration that plain timm opens as `local-dir:`      |
    | `resume.pt`                    | what the next epoch needs                                            |
    | `evaluation/`, `plots/`        | tables and pictures                                                  |
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.yaml"
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

    def recipe(self) -> Recipe:
        """The resolved recipe of the run."""
        return load_recipe(str(self.config))

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

    def holds(self, dataset: DatasetMetadata) -> bool:
        """Whether `dataset` has the classes, in the order, that the run was trained on."""
        return self.dataset().classes == dataset.classes
