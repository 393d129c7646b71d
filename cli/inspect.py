"""`fastsketch inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import NAME, console, plain, progress_bar

if TYPE_CHECKING:
    from fastsketch.formats.metadata import DatasetMetadata


def command(
    dataset: Annotated[Path, typer.Argument(help="A converted data set, here or at a URL.")],
    verify: Annotated[bool, typer.Option("--verify", help="Check every byte against the checksums.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this file: .png, .pdf or .svg.")] = None,
    split: Annotated[str | None, typer.Option(help="The split of the contact sheet. [default: the first]")] = None,
) -> None:
    """Tell what a converted data set holds: counts, classes, formats, ink."""
    from fastsketch.formats.metadata import DatasetMetadata

    metadata = DatasetMetadata.load(dataset)
    shown = split or next(iter(metadata.splits))
    if sheet is not None:
        from fastsketch.figures.contact_sheet import check_sheet

        check_sheet(sheet, dataset, metadata, shown)
    _report(dataset, metadata)
    if verify:
        _verify(dataset, metadata)
    if sheet is not None:
        from fastsketch.figures.contact_sheet import draw_contact_sheet

        draw_contact_sheet(sheet, dataset, metadata, shown)
        console.print(f"contact sheet: {plain(sheet)}", soft_wrap=True)


def _report(folder: Path, metadata: DatasetMetadata) -> None:
    from rich.table import Table

    from fastsketch.formats.inspection import ink_statistics
    from fastsketch.formats.pack import PackSplit
    from fastsketch.urls import written

    samples = sum(record.samples for record in metadata.splits.values())
    size = sum(file.bytes for record in metadata.splits.values() for file in record.all_files())
    console.print(
        f"[bold]{plain(written(folder))}[/]: {samples:,} images of {len(metadata.classes)} classes at "
        f"{metadata.size} px ({metadata.resize}), {size / 1e6:,.0f} MB",
        soft_wrap=True,
    )
    if metadata.part:
        console.print(f"part {metadata.part.part} of a conversion of {len(metadata.part.classes):,} classes")
    table = Table("split", "images", "a class", "formats", "MB", "mean", "std", box=None, header_style="dim")
    inks = Table("split", "mean", "median", "95 %", "99 %", "blank images", box=None, header_style="dim")
    for name, record in metadata.splits.items():
        split = PackSplit(folder, metadata, name)
        counts = [int((split.labels == label).sum()) for label in range(len(metadata.classes))]
        table.add_row(
            name,
            f"{record.samples:,}",
            f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} – {max(counts):,}",
            ", ".join(["pack", *record.formats]),
            f"{sum(file.bytes for file in record.all_files()) / 1e6:,.0f}",
            f"{record.pixel_mean:.4f}",
            f"{record.pixel_std:.4f}",
        )
        ink = ink_statistics(split)
        shares = (ink.mean, ink.median, ink.quantile_95, ink.quantile_99)
        inks.add_row(name, *(f"{share:.0f} ({share / ink.patches:.0%})" for share in shares), f"{ink.blank:,}")
    console.print(table)
    console.print(f"\npatches of 16 × 16 pixels with ink, of {ink.patches}:", style="dim")
    console.print(inks)
    classes = [plain(name, NAME) for name in metadata.classes[:5] + metadata.classes[5:][-1:]]
    names = ", ".join(classes[:5]) + (f", … {classes[5]}" if len(classes) > 5 else "")
    console.print(f"\nclasses: {names}", soft_wrap=True)
    if metadata.skipped:
        console.print(f"{len(metadata.skipped):,} unreadable images were skipped; dataset.json lists them")


def _verify(folder: Path, metadata: DatasetMetadata) -> None:
    from fastsketch.formats.inspection import verify

    files = [file for record in metadata.splits.values() for file in record.all_files()]
    with progress_bar() as bar:
        task = bar.add_task("verifying", total=len(files), note="")

        def advance(name: str, size: int) -> None:
            bar.update(task, advance=1, note=f"{name} ({size / 1e6:,.0f} MB)")

        size = verify(folder, metadata, advance)
    console.print(f"[green]every byte is as it was written[/] ({len(files)} files, {size / 1e6:,.0f} MB)")
