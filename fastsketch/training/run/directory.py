"""The run directory: one folder with everything that a training left behind."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastsketch import atomic
from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, FastSketchError, one_line
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata, holds_images
from fastsketch.locks import exclusive
from fastsketch.recipes import load_recipe
from fastsketch.training.run.saving import saving

HARMLESS = {"export", "tensorboard", "wandb", "lost+found", "__pycache__"}
"""Folders that may lie where a run begins: what is kept of an earlier one, and what nobody made by hand."""


class Run:
    """Paths inside a run directory.

    | path                           | content                                                              |
    |--------------------------------|----------------------------------------------------------------------|
    | `config.yaml`                  | the resolved recipe: `--recipe RUN/config.yaml` repeats the run      |
    | `dataset.json`                 | a copy of the data set's metadata, with the class names              |
    | `run.json`                     | command, versions, hardware and data of every session                |
    | `metrics.jsonl`, `metrics.csv` | one record an epoch                                                  |
    | `last/`, `best/`               | weights and configuration that plain timm opens as `local-dir:`      |
    | `resume.pt`                    | what the next step needs, and what the run was made with             |
    | `resume.previous.pt`           | the same, one save before                                            |
    | `evaluation/`, `plots/`        | tables and pictures                                                  |
    """

    def __init__(self, root: str | Path) -> None:
        self.root = root = Path(root)
        self.config = root / "config.yaml"
        self.record = root / "run.json"
        self.metrics = root / "metrics.jsonl"
        self.last = root / "last"
        self.best = root / "best"
        self.resume_path = root / "resume.pt"
        self.previous_resume_path = root / "resume.previous.pt"
        self.evaluation = root / "evaluation"
        self.plots = root / "plots"

    @classmethod
    def open(cls, root: str | Path) -> Run:
        """A run that exists.

        Raises:
            ConfigError: The folder is no run directory.
        """
        run = cls(root)
        if not run.config.is_file():
            raise ConfigError(
                f"{root} is not a run directory (it has no config.yaml)",
                hint="the command that began the run, in its run.json, writes it anew" if run.begun else None,
            )
        return run

    @classmethod
    def of(cls, run: Run | str | Path) -> Run:
        """A run, or the one that a folder is."""
        return run if isinstance(run, Run) else cls(run)

    def __repr__(self) -> str:
        return f"Run({str(self.root)!r})"

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows of it: the curves, as soon as there are any."""
        curves = self.plots / "curves.png"
        return curves.read_bytes() if curves.is_file() else None

    @property
    def begun(self) -> bool:
        """Whether there is something that a new run must not write over."""
        return any(path.exists() for path in (self.config, self.resume_path, self.previous_resume_path))

    @contextmanager
    def held(self, *, resume: bool = False, patience: float = 0.0) -> Iterator[None]:
        """Hold the folder, made if missing, against other processes; what killed ones left half-written goes.

        If nothing came of it, the folder that was made goes too.

        Args:
            resume: A run may be there.
            patience: Seconds to wait for another process that holds it.

        Raises:
            ConfigError: There can be no such folder, or it holds a run already.
            FastSketchError: Another process trains in it.
        """
        try:
            made = not self.root.exists()
            self.root.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise ConfigError(f"{self.root} is a file, no folder for a run", hint="choose another --out") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{self.root} cannot be made: {reason}", hint="choose another --out") from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise ConfigError(f"{self.root} is not yours to write", hint="choose another --out")
        busy = "wait until that training is done, or choose another --out"
        with exclusive(self.root, hint=busy, patience=patience):
            if not (self.begun and resume):
                self._check_new()
            for folder in (self.root, self.last, self.best):  # in the others `evaluate` may be writing
                if folder.is_dir():
                    atomic.sweep(folder)
            try:
                yield
            finally:
                if made and not any(self.root.iterdir()):
                    self.root.rmdir()

    def _check_new(self) -> None:
        """Make sure that a new run writes over nothing, and not in among somebody's own folders, sketches for one.

        `config.yaml` is the first file of a run that could be lost.

        Raises:
            ConfigError: It would.
        """
        if self.begun:
            raise ConfigError(f"{self.root} holds a run already", hint="continue it with --resume, or choose another")
        if holds_images(self.root):
            raise ConfigError(f"{self.root} is a data set, no folder for a run", hint="choose another --out")
        folders = [folder for folder in (self.last, self.best, self.evaluation, self.plots) if folder.is_dir()]
        for path in sorted(self.root.iterdir()):
            known = path in folders or path.name in HARMLESS or path.name.startswith(".")
            if path.is_dir() and not known:
                raise ConfigError(
                    f"{self.root} is no folder for a run: it holds '{one_line(path.name, 80)}'",
                    hint=f"choose another --out, such as {self.root / 'run'}",
                )
        inside = (path for folder in folders for path in folder.iterdir() if not atomic.is_temporary(path))
        ours = (self.record, self.metrics, self.metrics.with_suffix(".csv"), *inside)
        in_the_way = [path for path in ours if path.exists()]
        if (copy := self.root / FILE_NAME).exists():  # before `config.yaml` there is this one
            try:
                self.dataset()
            except FastSketchError:
                in_the_way.append(copy)
        if in_the_way:
            raise ConfigError(f"{in_the_way[0]} is in the way of a new run", hint="move it, or choose another --out")

    def recipe(self, overrides: Iterable[str] = ()) -> Recipe:
        """The resolved recipe of the run, with dotted overrides."""
        return load_recipe(str(self.config), overrides)

    def dataset(self) -> DatasetMetadata:
        """The metadata of the data set that the run was trained on."""
        return DatasetMetadata.of_run(self.root)

    def create(self, recipe: Recipe, dataset: DatasetMetadata) -> None:
        """Write what the run is made with; of a run that is continued the same again, whatever became of it.

        Raises:
            FastSketchError: It cannot be written.
        """
        with saving(self.root):
            for folder in (self.last, self.best, self.plots):
                folder.mkdir(parents=True, exist_ok=True)
            dataset.save(self.root)
            recipe.save(self.config)

    def holds(self, dataset: DatasetMetadata) -> bool:
        """Whether `dataset` has the classes, in the order, that the run was trained on."""
        return self.dataset().classes == dataset.classes
