"""Images, drawings, lists and names that `convert` once fell over."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from fuzz.case import Case
from fuzz.corpus import entry
from fuzz.kinds.images import flat_png
from fuzz.templates import TINY, Templates

CONVERT = ["convert", "images", "out", "--size", "24", "--workers", "1", "--split", "0.5/0.5"]


def images(folder: Path, templates: Templates, *names: str) -> Path:
    """A folder of good images of the classes named, else of `ant` and `bee`."""
    for name in names or ("ant", "bee"):
        (folder / "images" / name).mkdir(parents=True)
        for index in range(4):
            (folder / "images" / name / f"{index}.png").write_bytes(templates.image(index))
    return folder / "images"


def _large_image(depth: int, colour: int, folder: Path, templates: Templates) -> Case:
    (images(folder, templates) / "ant/large.png").write_bytes(flat_png(13_300, 13_300, depth, colour))
    return Case([CONVERT], codes=(0,))


for title, kind in {"16-bit": (16, 0), "RGBA": (8, 6), "LA": (8, 4)}.items():
    entry(f"M9 {title}")(functools.partial(_large_image, *kind))


@entry("M5")
def _mathtext(folder: Path, templates: Templates) -> Case:
    images(folder, templates, "$x_{$", r"$\frac{1}{0$", "[red]", "^")
    split = [*CONVERT[:-1], "2/1/1"]
    train = ["train", "out", *TINY, "--set", "data.batch_size=4", "--out", "run"]
    commands = [
        split,
        ["inspect", "out", "--sheet", "out.png"],
        ["preview", "out", "--out", "out.png"],
        train,
        ["evaluate", "run"],
    ]
    return Case(commands, writes=("out", "run"), codes=(0,))


@entry("M8")
def _surrogate(folder: Path, templates: Templates) -> Case:
    line = b'{"word": "x", "key_id": "\\ud800", "drawing": [[[0, 9], [0, 9]]]}\n'
    (folder / "images").mkdir()
    (folder / "images/ant.ndjson").write_bytes(line * 4)
    (folder / "images/bee.ndjson").write_bytes(line * 4)
    return Case([CONVERT], codes=(0,))


@entry("M10 image")
def _fifo(folder: Path, templates: Templates) -> Case:
    os.mkfifo(images(folder, templates) / "ant/x.png")
    return Case([CONVERT], codes=(0,))


@entry("M10 drawings")
def _fifo_of_drawings(folder: Path, templates: Templates) -> Case:
    (folder / "images").mkdir()
    for name in ("ant", "bee"):
        (folder / f"images/{name}.ndjson").write_bytes(b'{"drawing": [[[0, 9], [0, 9]]]}\n' * 4)
    os.mkfifo(folder / "images/x.ndjson")
    return Case([CONVERT], codes=(0, 1))


@entry("M10 list")
def _fifo_in_a_list(folder: Path, templates: Templates) -> Case:
    root = images(folder, templates)
    os.mkfifo(root / "ant/x.png")
    (root / "filelist.txt").write_text("ant/0.png\nant/1.png\nant/x.png\nbee/0.png\nbee/1.png\n")
    return Case([["convert", "images/filelist.txt", *CONVERT[2:]]])


@entry("M11")
def _destination_inside_the_source(folder: Path, templates: Templates) -> Case:
    images(folder, templates)
    return Case([["convert", "images", "images/out", *CONVERT[3:]]], writes=(), codes=(1, 2))


@entry("Low: --split 1e308/1e308/0")
def _split_of_infinity(folder: Path, templates: Templates) -> Case:
    images(folder, templates)
    return Case([[*CONVERT[:-1], "1e308/1e308/0"]], codes=(1, 2))


@entry("Low: a newline in a file name")
def _newline(folder: Path, templates: Templates) -> Case:
    root = images(folder, templates)
    (root / "ant/a\nb\x1b[31m.png").write_bytes(b"no image")
    return Case([CONVERT], codes=(0,))
