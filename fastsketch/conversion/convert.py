"""Raw data → a pre-decoded data set: every image is decoded and resized once, here, and never again.

    plan (class by class, in id order) → worker processes decode chunks → pack writers append in plan order
                                                                        → other formats are copied from the pack

Only a bounded number of chunks is under way at any time and only one class is listed at a time, so memory does not
grow with the number of samples. The plan is a pure function of the source and the configuration; a journal says how
far it has been carried out, so that the same command continues after a kill and ends in the same bytes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from time import monotonic

import numpy as np
import numpy.typing as npt

from fastsketch import atomic
from fastsketch.config import ConvertConfig
from fastsketch.conversion.cluster import CHUNKS, decode_on_cluster
from fastsketch.conversion.decode import DecodeError, Reading, decode_seen
from fastsketch.conversion.destination import Destination
from fastsketch.conversion.executors import require_cluster
from fastsketch.conversion.existing import existing
from fastsketch.conversion.fetch import fetched
from fastsketch.conversion.journal import Journal
from fastsketch.conversion.paper import require_opencv
from fastsketch.conversion.parts import described_part
from fastsketch.conversion.plan import Item, Plan
from fastsketch.conversion.upload import destination_of
from fastsketch.errors import ConfigError, DataError, FastSketchError
from fastsketch.formats.beton import require_ffcv
from fastsketch.formats.export import FORMATS, export
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata, Skipped, SplitRecord, format_version
from fastsketch.formats.pack import PackWriter
from fastsketch.ink import PAPER, count_ink_patches
from fastsketch.locks import exclusive
from fastsketch.sources import Source
from fastsketch.sources.sample import SPLITS, Sample
from fastsketch.urls import written
from fastsketch.version import __version__
from fastsketch.workers import NoneStarted, available_cpus, map_ahead

log = logging.getLogger(__name__)

CHUNK = 32
"""Samples a task: 32 images of 224 px are 1.6 MB on their way back, and their decoding outweighs a task's overhead."""

CHUNK_PIXELS = 1 << 25
"""Of a task's results, however large they are: 32 images of 1024 px."""

JOURNAL_SECONDS = 2.0
"""At least so long between two journal entries; each costs an fsync of every file."""

UNGUARDED = 'a script must call convert under `if __name__ == "__main__":`, or with workers=1'
"""For worker processes import the caller's script before anything else, and would convert once more."""

Progress = Callable[[int, float], None]
"""Called with the number of samples done and the share of all work that is done, in [0, 1]."""


def convert_dataset(
    source: Source, destination: str | Path, config: ConvertConfig, progress: Progress | None = None
) -> DatasetMetadata:
    """Convert `source` into the folder `destination` and return its metadata.

    Work goes on in `<destination>.partial`, which takes the place of `destination` when it is complete. If the
    partial folder of an interrupted conversion with the same configuration is there, the conversion continues.
    If it is done already, of the same sketches with the same settings, it is left as it is. Nothing is ever written
    over or deleted that was not written by a conversion.

    Args:
        source: What `open_source` returned.
        destination: The new data set; an existing one of anything else is replaced only with `config.overwrite`. At a
            URL, it is first converted in the user's cache folder.
        config: Size, resampling, splits, workers, formats.
        progress: Told after every chunk.

    Raises:
        ConfigError: `destination` is something else, or what is in the way is not ours; it lies in the source, or the
            source in it; the split contradicts the source; there are fewer classes than parts.
        DataError: There is one class alone, or a class is empty or entirely unreadable; with `config.strict` also the
            first unreadable sample.
        BackendMissing: The library of a format, or of the cluster, is not installed.
        FastSketchError: The disk is full, a worker died or the cluster is gone (the same command continues), or another
            process is at it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that imports the caller's script to begin with, and there comes by this call again.
        os.write(2, f"fastsketch: {UNGUARDED}\n".encode())  # at once: several say it
        raise SystemExit(1)
    if config.part and config.format != "pack":
        raise ConfigError(f"a part is not trained on and needs no {config.format}", hint="give --format to merge")
    if config.clean_photo and not config.executor:
        require_opencv()
    place = destination_apart(destination, source.root)  # before anything is said of what is in the source
    return carry_out(Plan.of(source, config), place, config, progress)


def destination_apart(destination: str | Path, *roots: Path) -> Destination:
    """Where a data set goes, once it is known to lie apart from what it is made of.

    Raises:
        ConfigError: It does not, or is a file system's root.
        FastSketchError: The disk cannot be asked.
    """
    place = destination_of(destination)
    with _disk_told(place):
        for root in roots:
            place.check_apart(root)
    return place


def carry_out(plan: Plan, place: Destination, config: ConvertConfig, progress: Progress | None) -> DatasetMetadata:
    """Do what a plan says, or what is left of it; arguments, result and errors as those of `convert_dataset`."""
    with _disk_told(place):
        formats = _formats(config)
        if complete := place.complete(plan.fingerprint, formats, plan.source):
            return complete
        if there := existing(place.data, plan, config, formats):
            log.info(
                "%s is there already, made as asked of images with these names; --overwrite converts them anew",
                written(place.data),
            )
            return there
        place.check(overwrite=config.overwrite)
        if config.executor:
            require_cluster(config.executor)
        with exclusive(place.partial):
            journal = _begin(place, plan, config.size)
            metadata = _convert(plan, journal, place.partial, config, progress)
            metadata = export(place.partial, metadata, formats)
            metadata.save(place.partial)
            recorded = {file.name for record in metadata.splits.values() for file in record.all_files()}
            place.tidy({*recorded, FILE_NAME, Journal.FILE_NAME})
            place.publish(overwrite=config.overwrite)
    return metadata


@contextmanager
def _disk_told(place: Destination) -> Iterator[None]:
    """Within this, what the disk refuses is told in a line."""
    try:
        yield
    except OSError as error:
        raise FastSketchError(
            f"{error.filename or place.partial}: {error.strerror or error}",
            hint="once that is mended, the same command continues",
        ) from error


def add_formats(folder: str | Path, config: ConvertConfig) -> DatasetMetadata:
    """Write `config.format` beside the pack of a data set that exists, and record it.

    Files of that format that are there already must be, byte for byte, what would be written: then they are ours,
    left by an interrupted call or recorded. Recorded ones that are gone are written anew.

    Raises:
        ConfigError: `folder` is not a converted data set.
        BackendMissing: The format's library is not installed.
        DataError: A file of the data set is not as it was written, or another has the name of one to be written.
        FastSketchError: The disk is full, or another process is at it; the data set is what it was.
    """
    folder, formats = Path(folder), _formats(config)
    DatasetMetadata.load(folder)  # or the lock would make a folder
    with exclusive(folder):
        try:
            metadata = DatasetMetadata.load(folder)
            atomic.sweep(folder)
            for record in metadata.splits.values():
                others = (files for format, files in record.formats.items() if format not in formats)
                for file in chain(record.files.values(), *others):
                    file.verify(folder)  # or damage would get a checksum of its own
            metadata = export(folder, metadata, formats, own=False)
            metadata.save(folder)
        except OSError as error:
            raise FastSketchError(
                f"{error.filename or folder}: {error.strerror or error}", hint="the data set is what it was"
            ) from error
    return metadata


def _formats(config: ConvertConfig) -> tuple[str, ...]:
    """The formats to write beside the pack; a missing library is told before the work, not after it."""
    formats = FORMATS if config.format == "all" else tuple(name for name in FORMATS if name == config.format)
    if "ffcv" in formats:
        require_ffcv()
    return formats


def _begin(place: Destination, plan: Plan, size: int) -> Journal:
    """The journal to go on from, when all that does not belong to it is deleted."""
    place.check_partial()
    journal = Journal.open(place.partial, plan.fingerprint, place.name, plan.source, size)
    if not journal.done:
        journal.save(place.partial)  # the first file of all: it says that the folder is ours
        place.start_over()
    return journal


def _convert(
    plan: Plan, journal: Journal, partial: Path, config: ConvertConfig, progress: Progress | None
) -> DatasetMetadata:
    """Write the pack into `partial`, or what is missing of it, and describe it."""
    with ExitStack() as stack:
        writers = {split: stack.enter_context(PackWriter(partial, split, config.size)) for split in SPLITS}
        for split, writer in writers.items():
            writer.rewind(journal.lengths.get(split, {}))

        def save() -> float:
            journal.lengths = {split: writer.sync() for split, writer in writers.items()}
            journal.save(partial)
            return monotonic()

        saved_at = monotonic()
        decoded = _decoded(plan.items(journal), config)
        stack.enter_context(closing(decoded))  # an error's traceback would keep it, and its processes at work
        for items, chunk in decoded:
            _append(items, chunk, writers, journal, strict=config.strict, classes=plan.classes)
            if progress:
                progress(journal.done, (journal.label + items[-1].share) / len(plan.classes))
            if monotonic() - saved_at > JOURNAL_SECONDS:
                saved_at = save()
        journal.finish_class(plan.classes)
        save()
        splits = _finish(writers, journal, config.size)
        metadata = DatasetMetadata(
            fastsketch=__version__,
            source=plan.record,
            size=config.size,
            resize=config.resize,
            classes=list(plan.classes),
            splits=splits,
            format_version=format_version(splits),
            skipped=journal.skipped,
            invert=config.invert,
            clean_photo=config.clean_photo,
            looks_inverted=journal.inverted + plan.looks[0],
            looks_gray=journal.gray + plan.looks[1],
        )
    return metadata if plan.part is None else described_part(partial, metadata, plan, journal.skipped_by_class())


# ---------------------------------------------------------------------------------------------------- decoding


@dataclass(frozen=True, slots=True)
class _Chunk:
    """The images of a few of the plan's items.

    Attributes:
        images: uint8 [m, S, S] of the m items that could be decoded.
        ink: uint16 [m], patches with ink.
        sums: uint64 [m, 2], the sum of each image's pixels and of their squares.
        looks: uint8 [m, 2], whether each image looks inverted, and on gray paper.
        failures: Position among all the items → reason.
    """

    images: npt.NDArray[np.uint8]
    ink: npt.NDArray[np.uint16]
    sums: npt.NDArray[np.uint64]
    looks: npt.NDArray[np.bool_]
    failures: dict[int, str]


def _decode_chunk(samples: list[Sample], reading: Reading) -> _Chunk:
    """Runs in a worker process."""
    images = np.empty((len(samples), reading.size, reading.size), np.uint8)
    looks = np.zeros((len(samples), 2), np.bool_)
    failures: dict[int, str] = {}
    for position, sample in enumerate(fetched(samples)):
        row = position - len(failures)
        try:
            images[row], looks[row] = decode_seen(sample, reading)
        except DecodeError as error:
            failures[position] = str(error)
    images, looks = images[: len(samples) - len(failures)], looks[: len(samples) - len(failures)]
    squares = np.square(images, dtype=np.uint16)  # 255² fits
    # Columns first, of which each fits into 32 bits: two thirds of the time of all at once in 64.
    columns = [pixels.sum(axis=1, dtype=np.uint32) for pixels in (images, squares)]
    sums = np.stack([sums.sum(axis=1, dtype=np.uint64) for sums in columns], axis=1)
    return _Chunk(images, count_ink_patches(images), sums, looks, failures)


def _decoded(plan: Iterator[Item], config: ConvertConfig) -> Generator[tuple[list[Item], _Chunk], None, None]:
    """Decode the plan in parallel, chunk by chunk and in order, a bounded number of chunks ahead."""
    samples_a_chunk = max(1, min(CHUNK * (CHUNKS if config.executor else 1), CHUNK_PIXELS // config.size**2))
    chunks = iter(lambda: list(islice(plan, samples_a_chunk)), [])
    tasks = ((items, [item.sample for item in items]) for items in chunks)
    decode_chunk = partial(_decode_chunk, reading=Reading.of(config))
    if config.executor:
        yield from decode_on_cluster(decode_chunk, tasks, config.executor, samples_a_chunk * config.size**2)
        return
    try:
        yield from map_ahead(decode_chunk, tasks, config.workers or available_cpus())
    except NoneStarted as error:
        raise FastSketchError("no decoding process could start", hint=UNGUARDED) from error
    except BrokenProcessPool as error:
        raise FastSketchError(
            "a decoding process was killed, most likely for want of memory",
            hint="the same command continues; try it with --workers 1",
        ) from error


# ----------------------------------------------------------------------------------------------------- writing


def _append(
    items: list[Item],
    chunk: _Chunk,
    writers: dict[str, PackWriter],
    journal: Journal,
    *,
    strict: bool,
    classes: tuple[str, ...],
) -> None:
    """Append a chunk's images to the splits they belong to, and note it in the journal."""
    kept: list[Item] = []
    for position, item in enumerate(items):
        journal.begin(item.label, item.state, classes)
        journal.pass_by(item.offset, item.listed)
        if reason := chunk.failures.get(position):
            if strict:
                raise DataError(f"{item.sample.id}: {reason}", hint="mend or remove it, or drop --strict to skip it")
            journal.skipped.append(Skipped(id=item.sample.id, reason=reason))
        else:
            kept.append(item)
            journal.class_samples += 1
    journal.inverted += int(chunk.looks[:, 0].sum())
    journal.gray += int(chunk.looks[:, 1].sum())
    for split, writer in writers.items():
        chosen = [row for row, item in enumerate(kept) if item.split == split]
        if chosen:
            labels, ids = zip(*((kept[row].label, kept[row].sample.id) for row in chosen), strict=True)
            writer.append(chunk.images[chosen], labels, chunk.ink[chosen], ids)
            journal.count(split, len(chosen), chunk.sums[chosen])


def _finish(writers: dict[str, PackWriter], journal: Journal, size: int) -> dict[str, SplitRecord]:
    """Finish the writers and describe the splits that have samples."""
    records: dict[str, SplitRecord] = {}
    for split, writer in writers.items():
        total = journal.totals.get(split)
        if total is None:
            writer.discard()
            continue
        pixels = total.samples * size * size
        mean = total.sum / pixels
        records[split] = SplitRecord(
            samples=total.samples,
            pixel_mean=mean / PAPER,
            pixel_std=max(total.squares / pixels - mean**2, 0.0) ** 0.5 / PAPER,
            files=writer.finish(),
        )
    return records
