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
    images = {"images": image_name(split, 0)}
    images |= {f"images-{number:05d}": image_name(split, number) for number in range(1, image_files)}
    return images | {column: f"{split}.{suffix}" for column, suffix in COLUMNS.items() if column != "images"}


def image_name(split: str, number: int) -> str:
    """The name of a split's file of images: the first is called as a single one is."""
    return f"{split}.images-{number:05d}.u8" if number else f"{split}.{COLUMNS['images']}"


def images_per_file(size: int) -> int:
    """Images of `size` px in each file of a split but the last."""
    return max(1, IMAGE_FILE_BYTES // size**2)


def format_names(split: str, format: str, count: int) -> list[str]:
    """The names of the `count` files that one of `FORMATS` has: `train.beton`; `train-00000.tar`, `train-00000.idx`."""
    if format == "ffcv":
        return [f"{split}.beton"]
    return [f"{split}-{number:05d}{suffix}" for number in range((count + 1) // 2) for suffix in (".tar", ".idx")]
