"""Damaged `.beton` files, tars and their indexes, through the loaders that read them."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from random import Random

from fuzz.case import Case
from fuzz.mutate import damaged
from fuzz.sealing import recorded_anew
from fuzz.templates import TINY, Templates

HEADER = 4096
"""Bytes of a `.beton` in which its header, its descriptors and its records lie."""


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """A quarter FFCV, whose import takes seconds, the rest DALI; trained on or added again."""
    if rng.random() < 0.25:
        return _beton(rng, folder, templates)
    ds = templates.put("ds", folder)
    for _ in range(rng.choice((1, 1, 2))):
        path = ds / f"{rng.choice(('train', 'train', 'val'))}-00000.{rng.choice(('tar', 'idx'))}"
        if not path.is_file():
            continue
        if not (data := path.read_bytes()):
            continue
        path.write_bytes(_index(rng, data) if path.suffix == ".idx" else _tar(rng, data))
    if rng.random() < 0.5:
        recorded_anew(ds)
    if rng.random() < 0.3:
        return Case([["convert", "ds", "--format", "dali"]], writes=("ds",))
    return Case([_train("dali")], libraries=True)


def _train(loader: str) -> list[str]:
    return ["train", "ds", *TINY, "--set", f"data.loader={loader}", "--max-minutes", "0.05", "--out", "out"]


def _same_length(data: bytes, length: int) -> bytes:
    return data[:length].ljust(length, b"\0")


def _tar(rng: Random, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return damaged(rng, data)
    changed = bytearray(data)
    at = rng.randrange(max(1, len(data) // 512)) * 512
    if rng.random() < 0.5:  # a name, a size, a type, a checksum
        start, length = rng.choice(((0, 100), (124, 12), (156, 1), (148, 8), (257, 6), (345, 155)))
        changed[at + start : at + start + length] = rng.choice(
            (rng.randbytes(length), b"7" * length, bytes(length), b"\x80" + b"\xff" * (length - 1))
        )
    else:
        changed[at : at + 8] = rng.choice(
            (rng.randbytes(8), struct.pack("<q", -1), struct.pack("<q", 999), b"\xff" * 8)
        )
    return _same_length(bytes(changed), len(data))


def _index(rng: Random, data: bytes) -> bytes:
    lines = data.decode("latin-1").splitlines()
    way = rng.randrange(6)
    if way == 0:
        return damaged(rng, data)
    if way == 1:
        return "\n".join(lines[:-1]).encode("latin-1")
    if way == 2:
        return rng.choice((b"", b"v1.2 0\n", b"v9 1\n", b"v1.2 -1\n", b"v1.2 99999999999\n", b"\0" * 50))
    if not lines:
        return b"v1.2 1\n"
    row = rng.randrange(len(lines))
    fields = lines[row].split(" ")
    fields[rng.randrange(len(fields))] = rng.choice(("-1", "0", "99999999999999999999", "x", "", "1", "../../x"))
    lines[row] = " ".join(fields)
    text = ("\n".join(lines) + "\n").encode("latin-1")
    return _same_length(text, len(data)) if way == 3 else text


def _beton(rng: Random, folder: Path, templates: Templates) -> Case:
    ds = Path(shutil.move(templates.put("ffcv", folder), folder / "ds"))
    path = ds / f"{rng.choice(('train', 'train', 'val'))}.beton"
    size = path.stat().st_size
    with path.open("r+b") as file:
        head = bytearray(file.read(HEADER))
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.choice((rng.randrange(64), rng.randrange(HEADER), rng.randrange(0, HEADER, 8)))
            new = rng.choice(
                (rng.randbytes(4), b"\xff" * 8, bytes(8), struct.pack("<Q", 999), struct.pack("<Q", 1 << 40), b"\x01")
            )
            head[at : at + len(new)] = new
        file.seek(0)
        file.write(head[:HEADER])
        if rng.random() < 0.2:  # the table at its end
            file.seek(size - rng.randrange(1, 500))
            file.write(rng.randbytes(8))
    if rng.random() < 0.15:
        with path.open("r+b") as file:
            file.truncate(rng.choice((0, 10, 100, HEADER, size - 1, size // 2, size + 1)))
    if rng.random() < 0.5:
        recorded_anew(ds)
    if rng.random() < 0.3:
        return Case([["convert", "ds", "--format", "ffcv"]], writes=("ds",), libraries=True)
    return Case([_train("ffcv")], libraries=True)
