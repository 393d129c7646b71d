"""Data sets with a damaged `dataset.json` or damaged columns, through every command that opens one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate import damaged, mutated
from fuzz.sealing import recorded_anew, sealed
from fuzz.templates import TINY, Templates

TEXTS = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"1",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe",
    b'"x"',
    b"\0",
    b'{"format_version": 1}',
    b"NaN",
]


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """One file or two of a data set are changed; then a command."""
    ds = templates.put("ds", folder)
    for _ in range(rng.choice((1, 1, 1, 2))):
        if rng.random() < 0.75:
            path = ds / "dataset.json"
            path.write_bytes(described_otherwise(rng, path.read_bytes()))
        else:
            other(rng, ds)
    if rng.random() < 0.3:
        recorded_anew(ds)
    return command(rng, folder)


def described_otherwise(rng: Random, text: bytes) -> bytes:
    """Another `dataset.json`."""
    way = rng.randrange(12)
    if way == 0:
        return rng.choice(TEXTS)
    if way <= 2:
        return damaged(rng, text)
    if way == 3:  # a key twice
        lines = text.splitlines(keepends=True)
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        return b"".join(lines)
    try:
        changed = mutated(rng, json.loads(text))
        return sealed(changed) if rng.random() < 0.7 else json.dumps(changed).encode("ascii")
    except (ValueError, TypeError, RecursionError):
        return b"{"


def other(rng: Random, folder: Path) -> None:
    """Damage, empty, remove, swap or replace another file of the data set."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "dataset.json" and path.is_file())
    if not names:
        return
    path = folder / rng.choice(names)
    way = rng.randrange(6)
    data = path.read_bytes()
    if way <= 1:
        path.write_bytes(damaged(rng, data))
    elif way == 2:
        path.unlink()
    elif way == 3:
        path.unlink()
        path.mkdir()
    elif way == 4:  # of the same length
        at = rng.randrange(len(data)) if data else 0
        path.write_bytes(data[:at] + rng.randbytes(min(8, len(data) - at)) + data[at + 8 :])
    else:
        path.unlink()
        path.symlink_to(rng.choice(("nowhere", "/dev/null", names[0])))


def command(rng: Random, folder: Path) -> Case:
    """A command that opens the data set `ds`."""
    way = rng.randrange(20)
    if way <= 4:
        options = rng.choice(([], ["--verify"], ["--sheet", "out.png"], ["--sheet", "out.png", "--split", "val"]))
        return Case([["inspect", "ds", *options]], writes=("out.png",))
    if way <= 7:
        formats = rng.choice(("dali", "dali", "pack", "all"))
        return Case(
            [["convert", "ds", "--format", formats]],
            writes=("ds",),
            libraries=formats == "all",
        )
    if way == 8:
        tokens = rng.choice(([], [], ["--tokens", "--set", "model.name=test_vit"]))
        return Case([["preview", "ds", "--out", "out.png", *tokens]], writes=("out.png",))
    loader = rng.choice(("auto", "resident", "pack"))
    split = rng.choice(("train", "train", "train+val"))
    options = [
        "--set",
        f"data.loader={loader}",
        "--set",
        f"data.train_split={split}",
        "--max-minutes",
        "0.02",
        "--out",
        "out",
    ]
    normalize = rng.choice(("unit", "standard"))
    return Case([["train", "ds", *TINY, *options, "--set", f"augment.normalize={normalize}"]])
