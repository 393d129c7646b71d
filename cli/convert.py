"""`fastsketch convert`."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from .console import console, plain, progress_bar

if TYPE_CHECKING:
    from fastsketch.config import ConvertConfig
    from fastsketch.formats.metadata import DatasetMetadata

MOST_SKIPPED = 10
"""So many unreadable images are listed; all of them are in dataset.json."""


def command(
    source: Annotated[
        Path, typer.Argument(help="Folder of images, filelist.txt, Quick, Draw! .ndjson[.gz], or a data set.")
    ],
    destination: Annotated[
        Path | None, typer.Argument(help="The data set to write. Left out: add --format to the data set SOURCE.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the square images in pixels.")] = 224,
    split: Annotated[
        str | None,
        typer.Option(help="48/9/23 a class, or fractions 0.8/0.1/0.1: train/val/test. 0.9/0.1 divides a lone train/."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    classes: Annotated[int | None, typer.Option(help="Keep the first so many classes only.")] = None,
    resize: Annotated[str, typer.Option(help="bilinear, box, bicubic, lanczos or nearest.")] = "bilinear",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing data set.")] = False,
    workers: Annotated[int, typer.Option(help="Decoding processes; 0: one a core.")] = 0,
    format: Annotated[str, typer.Option(help="pack, and beside it: ffcv, dali or all.")] = "pack",
) -> None:
    """Decode and resize images once, into a data set that loads at memory speed."""
    from fastsketch.config import ConvertConfig, validated
    from fastsketch.errors import ConfigError
    from fastsketch.formats.metadata import FILE_NAME

    options = {
        "size": size,
        "resize": resize,
        "split": split,
        "seed": seed,
        "classes": classes,
        "strict": strict,
        "overwrite": overwrite,
        "workers": workers,
        "format": format,
    }
    config = validated(ConvertConfig, options, "options")
    converted = (source / FILE_NAME).is_file()
    if destination is None and not converted:
        raise ConfigError("no destination given", hint=f"fastsketch convert {source} DATASET")
    if destination is None:
        add_and_report(source, config)
    elif converted:
        raise ConfigError(
            f"{source} is a data set already", hint=f"add formats to it: fastsketch convert {source} --format all"
        )
    else:
        convert_and_report(source, destination, config)


def add_and_report(folder: Path, config: ConvertConfig) -> None:
    """Add formats to a data set, and print where they are."""
    from fastsketch.conversion import add_formats
    from fastsketch.errors import ConfigError

    if config.format == "pack":
        raise ConfigError(f"{folder} is a data set already", hint="say what to add to it: --format ffcv, dali or all")
    metadata = add_formats(folder, config)
    for split, record in metadata.splits.items():
        for format, files in record.formats.items():
            size = sum(file.bytes for file in files)
            line = f"{plain(folder)}: {split} for {format}, {len(files)} files, {size / 1e6:,.0f} MB"
            console.print(line, soft_wrap=True)


def convert_and_report(source: Path, destination: Path, config: ConvertConfig) -> DatasetMetadata:
    """Convert with a progress bar, and print what came of it."""
    from fastsketch.conversion import convert_dataset
    from fastsketch.sources import open_source

    started = perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("converting", total=100, note="")

        def advance(samples: int, share: float) -> None:
            bar.update(task, completed=round(100 * share), note=f"{samples:,} images")

        metadata = convert_dataset(open_source(source), destination, config, advance)
    samples = sum(record.samples for record in metadata.splits.values())
    counts = ", ".join(f"{record.samples:,} {split}" for split, record in metadata.splits.items())
    rate = samples / (perf_counter() - started)
    console.print(
        f"[bold]{plain(destination)}[/]: {samples:,} images of {len(metadata.classes)} classes at "
        f"{metadata.size} px ({counts}), {rate:,.0f} images/s",
        soft_wrap=True,
    )
    for skipped in metadata.skipped[:MOST_SKIPPED]:
        console.print(f"  skipped {plain(skipped.id)}: {plain(skipped.reason)}", soft_wrap=True)
    if metadata.skipped:
        console.print(f"  {len(metadata.skipped)} unreadable images skipped; dataset.json lists them all")
    return metadata
