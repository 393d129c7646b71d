"""What cases begin with: images, data sets and a run, made once and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from shapes import CLASSES, draw_shape

from fuzz import zygote

COUNTS = {"train": 8, "val": 3, "test": 3}
SIZE = 32

TINY = ["--model", "test_resnet", "--set", "data.batch_size=8", "--device", "cpu", "--epochs", "1"]
"""Options of a training that takes a second."""


class Templates:
    """A folder with one of each kind.

    | name     | what it is                                                       |
    |----------|------------------------------------------------------------------|
    | `images` | `<split>/<class>/<number>.png`, 3 classes at 48 px               |
    | `ds`     | these at 32 px: pack and tars                                    |
    | `ffcv`   | the same with `.beton` files, which have 16 MB each              |
    | `run`    | a training of two epochs on `ds`, evaluated on `val`             |
    """

    def __init__(self, root: Path) -> None:
        self._made = root / "templates"
        self._made.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for split, count in COUNTS.items():
            for name in CLASSES:
                folder = self._made / "images" / split / name
                folder.mkdir(parents=True)
                for index in range(count):
                    draw_shape(name, rng).save(folder / f"{index}.png")
        convert = ["convert", "images", "--size", str(SIZE), "--workers", "1"]
        self._run([*convert[:2], "ds", *convert[2:]])
        shutil.copytree(self._made / "ds", self._made / "ffcv")
        self._run(["convert", "ds", "--format", "dali"])
        self._run(["convert", "ffcv", "--format", "ffcv"])
        self._run(["train", "ds", *TINY, "--out", "run", "--set", "training.save_minutes=0"])
        self._run(["train", "--resume", "run", "--epochs", "2"])
        self._run(["evaluate", "run"])

    def _run(self, command: list[str]) -> None:
        outcome = zygote.run(command, self._made, cage=self._made.parent)
        if outcome.code != 0:
            raise RuntimeError(f"fastsketch {' '.join(command)}: {outcome.code}\n{outcome.stdout}{outcome.stderr}")

    def put(self, name: str, folder: Path) -> Path:
        """Copy one into `folder`, under its own name; return where it is."""
        return Path(shutil.copytree(self._made / name, folder / name))

    def image(self, index: int = 0) -> bytes:
        """A good PNG."""
        return (self._made / "images/train" / CLASSES[0] / f"{index}.png").read_bytes()
