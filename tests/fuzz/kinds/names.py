"""Classes and files with odd names, through all commands one after the other."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate import NAMES
from fuzz.templates import TINY, Templates


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """convert → inspect → train → evaluate, with odd names of classes, images, and of the folders themselves."""
    source, out, run = "images", "out", "run"
    if rng.random() < 0.3:
        source = _name(rng, "images")
    if rng.random() < 0.3:
        out = _name(rng, "out", (source,))
    classes = {_name(rng, name) for name in ("ant", "bee", "cat")}
    for name in sorted(classes):
        for index in range(5):
            path = folder / source / name / f"{_name(rng, str(index)) if rng.random() < 0.3 else index}.png"
            data = templates.image(index)
            _write(path, data[:60] if rng.random() < 0.1 else data)
    commands = [
        ["convert", source, out, "--size", "32", "--workers", "1", "--split", "3/1/1"],
        ["inspect", out, "--sheet", "sheet.png"],
        ["train", out, *TINY, "--set", "data.batch_size=2", "--max-minutes", "0.02", "--out", run],
        ["evaluate", run, *rng.choice(([], ["--data", out], ["--split", "test"]))],
    ]
    if rng.random() < 0.2:
        commands.insert(2, ["preview", out, "--out", "sheet.png"])
    return Case([["--", *each] if False else each for each in commands], writes=(out, run, "sheet.png"))


def _name(rng: Random, plain: str, taken: tuple[str, ...] = ()) -> str:
    """`plain`, or something odd that no one has taken."""
    if rng.random() < 0.3:
        return plain
    name = rng.choice(NAMES)
    if rng.random() < 0.2:
        name += rng.choice(NAMES)
    name = os.fsdecode(name.encode("utf-8", "surrogateescape")[:240].replace(b"/", b"_"))
    return plain if name in (*taken, ".", "..") else name


def _write(path: Path, data: bytes) -> None:
    encoded = os.fsencode(path)
    if len(os.path.basename(encoded)) > 250:
        return
    os.makedirs(os.path.dirname(encoded), exist_ok=True)
    with open(encoded, "wb") as file:
        file.write(data)
