"""What the files of a data set are called: names that `dataset.json` gives are these, or it is refused."""

from __future__ import annotations

COLUMNS = {"images": "images.u8", "labels": "labels.i64", "ink": "ink.u16", "ids": "ids.jsonl"}
"""The columns of a pack, and what their names end in."""

FORMATS = ("ffcv", "dali")
"""The formats that can lie beside the pack, in the order in which they are written and recorded."""


IMAGE_FILE_BYTES = 1 << 30
"""What takes more lies in several files: 20,000 sketches of 224 px in one, 50 million of 64 px in 191."""


def pack_names(split: str, image_files: int = 1) -> dict[str, str]:
    """Column → file name: `images` → `train.images.u8`; further files of images are `train.images-00001.u8` and so on.

    They come as columns of their own, `images-00001`, after the first.
    """
    first, *others = COLUMNS
    more = {f"{first}-{number:05d}": column_name(split, first, number) for number in range(1, image_files)}
    return {first: column_name(split, first)} | more | {column: column_name(split, column) for column in others}


def column_name(split: str, column: str, number: int = 0) -> str:
    """The name of one of a column's files: the first is called as a single one is."""
    name, _, suffix = COLUMNS[column].partition(".")
    return f"{split}.{name}-{number:05d}.{suffix}" if number else f"{split}.{COLUMNS[column]}"


def images_per_file(size: int) -> int:
    """Images of `size` px in each file of a split but the last."""
    return max(1, IMAGE_FILE_BYTES // size**2)


def format_names(split: str, format: str, count: int) -> list[str]:
    """The names of the `count` files that one of `FORMATS` has: `train.beton`; `train-00000.tar`, `train-00000.idx`."""
    if format == "ffcv":
        return [f"{split}.beton"]
    return [f"{split}-{number:05d}{suffix}" for number in range((count + 1) // 2) for suffix in (".tar", ".idx")]
