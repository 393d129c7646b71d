"""What the files of a data set are called: names that `dataset.json` gives are these, or it is refused."""

from __future__ import annotations

COLUMNS = {"images": "images.u8", "labels": "labels.i64", "ink": "ink.u16", "ids": "ids.jsonl"}
"""The columns of a pack, and what their names end in."""

FORMATS = ("ffcv", "dali")
"""The formats that can lie beside the pack, in the order in which they are written and recorded."""


def pack_names(split: str) -> dict[str, str]:
    """Column → file name: `images` → `train.images.u8`."""
    return {column: f"{split}.{suffix}" for column, suffix in COLUMNS.items()}


def format_names(split: str, format: str, count: int) -> list[str]:
    """The names of the `count` files that one of `FORMATS` has: `train.beton`; `train-00000.tar`, `train-00000.idx`."""
    if format == "ffcv":
        return [f"{split}.beton"]
    return [f"{split}-{number:05d}{suffix}" for number in range((count + 1) // 2) for suffix in (".tar", ".idx")]
