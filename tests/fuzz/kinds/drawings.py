"""Quick, Draw! files, whole and damaged, through `convert`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

from fuzz.case import Case
from fuzz.mutate import damaged, mutated
from fuzz.templates import Templates

LINES = [
    b"", b"\n", b"{}", b"[]", b"null", b"1", b'"drawing"', b"{", b"[" * 100_000,
    b'{"drawing": ' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"drawing": [[[1e999, 2], [3, NaN]]]}',
    b'{"drawing": [[[1, 2], [3]]]}', b'{"drawing": [[], [[]], [[], []]]}',
    b'{"drawing": [[[1, 2], [3, 4]]], "key_id": "\\ud800"}',
    b'{"drawing": [[[1, 2], [3, 4]]], "key_id": {"a": [1]}}', b'{"drawing": "abc"}',
    b'{"drawing": {"0": [[1], [2]]}}', b'{"drawing": [[["1", "2"], ["3", "x"]]]}', b"\xff\xfe{\0}\0",
    b'{"drawing": [[[true, false], [null, 3]]]}', b'{"drawing": [[[1' + b"0" * 5000 + b"], [1]]]}",
    b"\xef\xbb\xbf{}", b"\0" * 100, b'{"drawing": [[[-1e38, 1e38], [-1e38, 1e38]]]}',
    b'{"drawing": [[[1e-45, 2e-45], [0, 0]]]}', b'{"drawing": [[[5], [5]]]}',
    b'{"drawing": [[[0, 1e15], [0, 1]], [[3e38, -3e38], [0, 0]]]}',
    b'{"key_id": "a\\nb\\u0000", "drawing": [[[1, 2], [3, 4]]]}',
]  # fmt: skip


def case(rng: Random, folder: Path, templates: Templates) -> Case:
    """A good class and an odd one, of which most lines are good."""
    source = folder / "drawings"
    source.mkdir()
    (source / "good.ndjson").write_bytes(b"\n".join(encoded(drawing(rng)) for _ in range(4)))
    lines = [line(rng) for _ in range(rng.choice((1, 3, 3)))] + [encoded(drawing(rng)), encoded(drawing(rng))]
    rng.shuffle(lines)
    data = rng.choice((b"\n", b"\n", b"\r\n", b"\r")).join(lines)
    name = rng.choice(("odd.ndjson", "odd.ndjson", "odd.ndjson.gz", "full_raw_odd.ndjson"))
    if name.endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
        data = rng.choice((data, damaged(rng, data), data[:-5], data + b"x", b"", data + gzip.compress(b"{}", mtime=0)))
    elif rng.random() < 0.2:
        data = damaged(rng, data)
    (source / name).write_bytes(data)
    named = rng.choice(("drawings", "drawings", "drawings", f"drawings/{name}"))
    options = rng.choice(([], [], ["--strict"], ["--classes", "1"], ["--format", "dali"]))
    return Case([["convert", named, "out", "--size", "24", "--workers", "1", "--split", "0.5/0.5", *options]])


def line(rng: Random) -> bytes:
    """One line of a file."""
    way = rng.randrange(6)
    if way == 0:
        return rng.choice(LINES)
    if way == 1:
        return damaged(rng, encoded(drawing(rng))).replace(b"\n", b" ")
    return encoded(mutated(rng, drawing(rng)))


def drawing(rng: Random) -> dict[str, Any]:
    """A drawing as Google writes it; some raw, with fractions and times."""
    raw = rng.random() < 0.3
    strokes = []
    for _ in range(rng.choice((1, 2, 5))):
        points = rng.choice((1, 2, 10))
        xs = [rng.uniform(0, 800) if raw else rng.randrange(256) for _ in range(points)]
        ys = [rng.uniform(0, 800) if raw else rng.randrange(256) for _ in range(points)]
        strokes.append([xs, ys, list(range(points))] if raw else [xs, ys])
    return {
        "word": "odd",
        "countrycode": "US",
        "recognized": True,
        "key_id": str(rng.randrange(10**16)),
        "drawing": strokes,
    }


def encoded(value: object) -> bytes:
    """JSON in ASCII; NaN and half surrogates as Python writes them."""
    return json.dumps(value).encode("ascii")
