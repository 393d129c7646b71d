"""File lists and layouts of folders through `convert`."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate import NAMES, damaged
from fuzz.templates import Templates

ENTRIES = [
    "ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png", "ant/none.png", "/etc/passwd", "../here/ant/0.png",
    "ant/../bee/0.png", "ant", "ant/deep/0.png", "./ant/0.png", "ant//0.png", "ant/0.png\t", " bee/1.png ",
    "# ant/0.png", "ant\\0.png", "\x00/0.png", "a\x00b/0.png", "ant/" + "x" * 300 + ".png", "x" * 5000 + "/0.png",
    "~/0.png", "$x_{$/0.png", "bee/\x1b[31m.png", "ant/0.png ant/1.png", "ant/.", "ant/text.txt", "bee/folder.png",
    "\u2028/0.png", "ant/\u0085.png", "cat/0.png", "é/0.png", "-/-", "nul/con", "%s/%d", "[bold]/[/].png",
]  # fmt: skip


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """A list beside its images, or a folder in an odd layout."""
    root = folder / "images"
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for index in range(3):
            (root / name / f"{index}.png").write_bytes(templates.image(index))
    (root / "ant/text.txt").write_text("text")
    (root / "bee/folder.png").mkdir()
    command = ["convert", "images", "out", "--size", "24", "--workers", "1", "--split", rng.choice(SPLITS)]
    if rng.random() < 0.5:
        (root / "filelist.txt").write_bytes(_list(rng))
        command[1] = "images/filelist.txt"
    else:
        for _ in range(rng.choice((1, 2, 4))):
            _disturb(rng, root, templates.image())
        if rng.random() < 0.4:
            del command[-2:]
    return Case([command])


SPLITS = [
    "0.5/0.5",
    "2/1",
    "0.6/0.2/0.2",
    "1/0/0",
    "1e308/1e308/0",
    "nan/nan",
    "0/0",
    "-1/2",
    "1/1/1/1",
    "",
    "0.5",
    "3/0",
    "inf/1",
    "1_0/1",
]


def _list(rng: Random) -> bytes:
    lines = [rng.choice(ENTRIES[:4]) for _ in range(3)] + ENTRIES[:4]
    lines += [rng.choice(ENTRIES + [f"{name}/0.png" for name in NAMES]) for _ in range(rng.choice((0, 1, 1, 2, 5)))]
    rng.shuffle(lines)
    data = rng.choice(("\n", "\n", "\r\n", "\r")).join(lines).encode("utf-8", "surrogateescape")
    way = rng.randrange(8)
    if way == 0:
        return damaged(rng, data)
    if way == 1:
        return rng.choice(
            (
                b"",
                b"\n\n",
                b"\xff\xfe" + "\n".join(lines[:3]).encode("utf-16-le", "ignore"),
                b"\xef\xbb\xbf" + data,
                b"\0" * 99,
            )
        )
    return data


def _disturb(rng: Random, root: Path, image: bytes) -> None:
    """Something in a folder of images that does not belong there."""
    way = rng.randrange(12)
    place = root / rng.choice(("", "ant", "train", "train/ant", "val/ant", "test", "deep/er/ant"))
    if place.is_file():
        return
    place.mkdir(parents=True, exist_ok=True)
    name = place / rng.choice(("x.png", "y.png", "x.ndjson", "filelist.txt", "dataset.json", "x.txt"))
    if name.exists() or name.is_symlink():
        return
    if way <= 3:
        name.write_bytes(image)
    elif way == 4:
        os.mkfifo(name)
    elif way == 5:
        name.symlink_to(rng.choice(("nowhere", "/dev/zero", "/etc", ".", "../ant", "/dev/null", "x.png")))
    elif way == 6:
        name.write_bytes(image)
        name.chmod(0)
    elif way == 7:
        name.mkdir()
    elif way == 8:
        (place / rng.choice(("train", "val", "valid", "test", "validation"))).mkdir(exist_ok=True)
    elif way == 9:
        (place / "linked").symlink_to("../ant") if not (place / "linked").is_symlink() else None
    elif way == 10:
        name.write_bytes(b"")
    else:
        (place / "empty").mkdir(exist_ok=True)
