"""Data sets that commands once fell over."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.case import Case
from fuzz.corpus import entry
from fuzz.sealing import recorded_anew, sealed
from fuzz.templates import TINY, Templates

Change = Callable[[dict[str, Any]], object]

COMMANDS = {
    "inspect": ["inspect", "ds", "--verify", "--sheet", "out.png"],
    "convert": ["convert", "ds", "--format", "dali"],
    "train": ["train", "ds", *TINY, "--out", "out"],
    "preview": ["preview", "ds", "--out", "out.png"],
}
TEXT = b"[" * 100_000


def described(folder: Path, templates: Templates, change: Change) -> Path:
    """A data set whose `dataset.json` has been changed."""
    ds = templates.put("ds", folder)
    record = json.loads((ds / "dataset.json").read_text())
    change(record)
    (ds / "dataset.json").write_bytes(sealed(record))
    return ds


def _refused(change: Change, command: str, folder: Path, templates: Templates) -> Case:
    described(folder, templates, change)
    return Case([COMMANDS[command]], writes=("out", "out.png"), codes=(1, 2))


def _split_named(name: str) -> Change:
    return lambda record: record["splits"].update({name: record["splits"].pop("train")})


def _file_named(name: str) -> Change:
    return lambda record: record["splits"]["train"]["files"]["images"].update(name=name)


CHANGES: dict[str, Change] = {
    "H4 split": _split_named("../../ESCAPED"),
    "H4 absolute split": _split_named("/ESCAPED"),
    "H4 file": _file_named("../here/ds/train.images.u8"),
    "H4 folder": _file_named("./train.images.u8"),
    "Low: size 0": lambda record: record.update(size=0),
    "a filter that a terminal obeys": lambda record: record.update(resize="bilinear\0"),
    "Low: no splits": lambda record: record.update(splits={}),
    "Low: negative std": lambda record: record["splits"]["train"].update(pixel_std=-1.0),
    "Low: NaN mean": lambda record: record["splits"]["train"].update(pixel_mean=float("nan")),
    "Low: half a surrogate": lambda record: record.update(classes=["\ud800", "b", "c"]),
    "Low: a class twice": lambda record: record.update(classes=["a", "a", "b"]),
    "Low: samples -1": lambda record: record["splits"]["train"].update(samples=-1),
}
for title, changing in CHANGES.items():
    for name in COMMANDS if title == "H4 split" else ("inspect", "train"):
        entry(f"{title}, {name}")(partial(_refused, changing, name))


@entry("Low: dataset.json of brackets")
def _brackets(folder: Path, templates: Templates) -> Case:
    (templates.put("ds", folder) / "dataset.json").write_bytes(TEXT)
    return Case([COMMANDS["inspect"]], codes=(1,))


@entry("M13 tar")
def _damaged_tar(folder: Path, templates: Templates) -> Case:
    path = templates.put("ds", folder) / "train-00000.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 255
    path.write_bytes(data)
    return Case([COMMANDS["convert"], ["inspect", "ds", "--verify"]], writes=("ds",))


def _beton(at: int, new: bytes, folder: Path, templates: Templates) -> Case:
    """A training with FFCV."""
    path = Path(shutil.move(templates.put("ffcv", folder), folder / "ds")) / "train.beton"
    with path.open("r+b") as file:
        file.seek(at)
        file.write(new)
    recorded_anew(path.parent)
    train = [*COMMANDS["train"], "--set", "data.loader=ffcv"]
    return Case([train], codes=(1,), libraries=True)


FIRST = 24 + 3 * 1041
"""Behind the header and three descriptors: the first image's address, its label and its index, eight bytes each."""

# The header: version u16, fields u16, page size u32, samples u64, where the table is u64.
for title, (at, new) in {
    "samples": (8, struct.pack("<Q", 1 << 32)),
    "table": (16, struct.pack("<Q", 1 << 60)),
    "address": (FIRST, struct.pack("<Q", 1 << 60)),
    "label 999": (FIRST + 8, struct.pack("<q", 999)),
    "label -1": (FIRST + 8, struct.pack("<q", -1)),
}.items():
    entry(f"M12 {title}")(partial(_beton, at, new))


@entry("DALI tar of nothing")
def _no_tar(folder: Path, templates: Templates) -> Case:
    ds = templates.put("ds", folder)
    (ds / "val-00000.tar").write_bytes(b"")
    recorded_anew(ds)
    train = [*COMMANDS["train"], "--set", "data.loader=dali"]
    return Case([train], codes=(1,), libraries=True)
