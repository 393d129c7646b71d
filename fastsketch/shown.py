"""Conversion and training together with their display: what the notebook's verbs share with the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from fastsketch.config import ConvertConfig, Recipe
from fastsketch.errors import ConfigError
from fastsketch.progress import Screen, TrainingDisplay, plain, progress_bar
from fastsketch.training.run.directory import Run
from fastsketch.urls import url_of, written

if TYPE_CHECKING:
    from fastsketch.formats.metadata import DatasetMetadata
    from fastsketch.training.run.metrics import EpochRecord

MOST_SKIPPED = 10
"""So many unreadable images are listed; all of them are in dataset.json."""


def convert_shown(source: Path, destination: Path | None, config: ConvertConfig, screen: Screen) -> Path:
    """Convert, or add formats where there is no destination, and print what came of it.

    Returns:
        The folder of the data set.

    Raises:
        FastSketchError: See `convert`.
    """
    from fastsketch.conversion import add_formats
    from fastsketch.formats.metadata import FILE_NAME, is_run
    from fastsketch.sources.files import is_file

    if (converted := is_file(source / FILE_NAME)) and is_run(source):
        raise ConfigError(f"{source} is a run directory, not a data set", hint="convert the images it was trained on")
    more = "convert its source again with --format ffcv, dali or all"
    if destination is None:
        if not converted:
            raise ConfigError("no destination given", hint=f"fastsketch convert {written(source)} DATASET")
        if url_of(source):
            raise ConfigError(
                f"{written(source)} is a data set already, and nothing is added to one at a URL",
                hint=more,
            )
        if config.format == "pack":
            raise ConfigError(
                f"{source} is a data set already", hint="say what to add to it: --format ffcv, dali or all"
            )
        _report_formats(source, add_formats(source, config), screen)
        return source
    if converted:
        raise ConfigError(
            f"{written(source)} is a data set already",
            hint=more
            if url_of(source)
            else f"for another size convert the originals; for more formats: fastsketch convert {source} --format all",
        )
    _convert_new(source, destination, config, screen)
    return destination


def merge_shown(parts: Sequence[Path], destination: Path, screen: Screen, *, overwrite: bool, format: str) -> None:
    """Put the parts of a conversion together, and print what came of it.

    Raises:
        FastSketchError: See `merge_parts`.
    """
    from fastsketch.conversion import merge_parts

    _made_shown("merging", partial(merge_parts, parts, overwrite=overwrite, format=format), destination, screen)


def _convert_new(source: Path, destination: Path, config: ConvertConfig, screen: Screen) -> None:
    from fastsketch.conversion import convert_dataset
    from fastsketch.sources import open_source

    convert = partial(convert_dataset, open_source(source), config=config)
    metadata = _made_shown("converting", convert, destination, screen)
    if metadata.part:
        rest = "fastsketch merge PARTS... DATASET puts all of them together"
        whole = f"part {metadata.part.part} of {len(metadata.part.classes):,} classes"
        screen.lines.print(f"  {whole}: {rest}", soft_wrap=True)


def _made_shown(doing: str, make: Callable[..., DatasetMetadata], destination: Path, screen: Screen) -> DatasetMetadata:
    """Make a data set with a bar, and print what it is."""
    started, converted = perf_counter(), 0
    with progress_bar(screen) as bar:
        task = bar.add_task(doing, total=100, note="")

        def advance(samples: int, share: float) -> None:
            nonlocal converted
            converted = samples
            bar.update(task, completed=round(100 * share), note=f"{samples:,} images")

        metadata = make(destination=destination, progress=advance)
    samples = sum(record.samples for record in metadata.splits.values())
    counts = ", ".join(f"{record.samples:,} {split}" for split, record in metadata.splits.items())
    counted = f"{len(metadata.classes):,} class{'es' * (len(metadata.classes) != 1)}"
    speed = f", {samples / (perf_counter() - started):,.0f} images/s" if converted else ""
    screen.lines.print(
        f"[bold]{plain(written(destination))}[/]: {samples:,} images of {counted} at "
        f"{metadata.size} px ({counts}){speed}",
        soft_wrap=True,
    )
    _report_empty_splits(metadata, screen)
    _report_looks(metadata, screen)
    for skipped in metadata.skipped[:MOST_SKIPPED]:
        screen.lines.print(f"  skipped {plain(skipped.id)}: {plain(skipped.reason)}", soft_wrap=True)
    if metadata.skipped:
        screen.lines.print(f"  {len(metadata.skipped)} unreadable images skipped; dataset.json lists them all")
    return metadata


def _report_empty_splits(metadata: DatasetMetadata, screen: Screen) -> None:
    """Splits that were asked for, but for which no class is large enough; a part of a conversion knows not all."""
    from fastsketch.sources.sample import SPLITS
    from fastsketch.sources.splits import SplitSpec

    made = metadata.source.split
    parts = SplitSpec.parse(made).parts if made and not (metadata.part or metadata.skipped) else ()
    if empty := [split for split, part in zip(SPLITS, parts, strict=False) if part and split not in metadata.splits]:
        half = "val" in empty and made != "0.5/0.5"
        remedy = ": with --split 0.5/0.5 half of each is for val" if half else ""
        screen.lines.print(f"  no class is large enough for {' and '.join(empty)} by {made}{remedy}", soft_wrap=True)


def _report_looks(metadata: DatasetMetadata, screen: Screen) -> None:
    """What does not look like dark ink on white paper, and what helps."""
    for count, look, remedy in (
        (metadata.looks_inverted, "light on dark", "--invert auto turns such images over"),
        (metadata.looks_gray, "photographed, on gray paper", "--clean-photo makes the paper white"),
    ):
        if count:
            screen.lines.print(f"  {count:,} images look {look}: {remedy}")


def _report_formats(folder: Path, metadata: DatasetMetadata, screen: Screen) -> None:
    for split, record in metadata.splits.items():
        for format, files in record.formats.items():
            size = sum(file.bytes for file in files)
            line = f"{plain(folder)}: {split} for {format}, {len(files)} files, {size / 1e6:,.0f} MB"
            screen.lines.print(line, soft_wrap=True)


def train_shown(recipe: Recipe, run: Run, screen: Screen, *, resume: bool = False) -> list[EpochRecord]:
    """Train with a bar and a line an epoch, draw the curves, and print where everything is.

    Args:
        recipe: See `fit`.
        run: Likewise; the curves are its `plots/curves.png`.
        screen: Where it is shown; hidden, also in the processes of a training that do not report.
        resume: See `fit`.

    Returns:
        All records.

    Raises:
        FastSketchError, KeyboardInterrupt: See `fit`.
    """
    screen.lines.print(f"[dim]run directory: {plain(run.root)}[/]", soft_wrap=True)

    from fastsketch.training.execution.distributed import World  # here torch begins
    from fastsketch.training.fit import fit

    with TrainingDisplay(recipe, screen) as display:
        records = fit(
            recipe, run, resume=resume, on_step=display.on_step, on_epoch=display.on_epoch, on_loss=display.on_loss
        )
    if World.of_environment().leads:
        end = f"{_reached(records)}; model in {plain(run.best)}"
        if records:
            end += f", curves in {plain(_draw_curves(recipe, run, records))}"
        with suppress(OSError):  # where the terminal is gone
            screen.lines.print(f"[bold]{plain(run.root)}[/]: {end}", soft_wrap=True)
    return records


def _draw_curves(recipe: Recipe, run: Run, records: list[EpochRecord]) -> Path:
    from fastsketch.figures.curves import plot_curves
    from fastsketch.training.run.record import resumed_epochs
    from fastsketch.training.run.saving import saving

    curves = run.plots / "curves.png"
    with saving(curves):
        run.plots.mkdir(exist_ok=True)
        plot_curves(curves, records, f"{run.root.name}: {recipe.model.name}", resumed=resumed_epochs(run.record))
    return curves


def _reached(records: list[EpochRecord]) -> str:
    from fastsketch.training.run.metrics import best_record

    best = best_record(records)
    if not records:
        return "no epochs"
    if best is None:
        return f"{len(records)} epoch{'s' * (len(records) > 1)}, without validation"
    return f"best val top-1 {best.val_top1:.2%} in epoch {best.epoch}"
