"""`fastsketch convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import screen


def command(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of images, filelist.txt, Quick, Draw! .ndjson[.gz], or a data set; a URL, too."),
    ],
    destination: Annotated[
        Path | None,
        typer.Argument(help="The data set to write; a URL, too. Left out: add --format to the data set SOURCE."),
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 224,
    split: Annotated[
        str | None,
        typer.Option(help="48/9/23 a class, or fractions 0.8/0.1/0.1: train/val/test. 0.9/0.1 divides a lone train/."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    classes: Annotated[int | None, typer.Option(help="Keep the first so many classes only.")] = None,
    part: Annotated[
        str | None, typer.Option(help="3/7: the third of seven parts, converted anywhere; fastsketch merge joins them.")
    ] = None,
    resize: Annotated[str, typer.Option(help="bilinear, box, bicubic, lanczos or nearest.")] = "bilinear",
    invert: Annotated[str, typer.Option(help="no, yes, or auto: turn over what is light on dark.")] = "no",
    clean_photo: Annotated[
        bool, typer.Option("--clean-photo", help="Clean photographs: paper white, lines black. Extra `photo`.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set.")] = False,
    workers: Annotated[int, typer.Option(help="Decoding processes; 0: one a core.")] = 0,
    executor: Annotated[
        str | None,
        typer.Option(
            help="A cluster that decodes: dask://HOST:PORT, ray://HOST:PORT; ray:// is the Ray that runs here."
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="pack, and beside it: ffcv, dali or all.")] = "pack",
) -> None:
    """Decode and resize images once, into a data set that loads at memory speed."""
    from fastsketch.config import ConvertConfig, validated
    from fastsketch.shown import convert_shown

    options = {
        "size": size,
        "resize": resize,
        "invert": invert,
        "clean_photo": clean_photo,
        "split": split,
        "seed": seed,
        "classes": classes,
        "part": part,
        "strict": strict,
        "overwrite": overwrite,
        "workers": workers,
        "executor": executor,
        "format": format,
    }
    convert_shown(source, destination, validated(ConvertConfig, options, "options"), screen())
