"""What a part records of itself, and all parts of one whole as a source: to merge them is a conversion like others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path

import numpy as np
from xxhash import xxh3_128, xxh3_128_hexdigest

from fastsketch.conversion.plan import Plan
from fastsketch.errors import ConfigError, DataError, one_line
from fastsketch.formats.blocks import blocks
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata, SplitRecord
from fastsketch.formats.pack import PackSplit
from fastsketch.formats.parts import Extent, PartRecord, UnitRecord
from fastsketch.sources.sample import SPLITS, StoredSample

_SETTINGS = ("fastsketch", "size", "resize", "invert", "clean_photo", "source")
"""Of what differs between two parts, what can be named."""


def described_part(folder: Path, metadata: DatasetMetadata, plan: Plan, skipped: Sequence[int]) -> DatasetMetadata:
    """A part's metadata with what `merge` needs to know of it.

    Args:
        folder: The part, whose files are read once more for the checksums of its classes.
        metadata: What there is in it.
        plan: That it was converted by.
        skipped: How many samples of each class could not be decoded.
    """
    assert plan.part, "it is a part"
    units = _units(folder, metadata, skipped)
    record = PartRecord(part=plan.part, plan=plan.digest, classes=list(plan.whole), units=units)
    return metadata.model_copy(update={"part": record})


def _units(folder: Path, metadata: DatasetMetadata, skipped: Sequence[int]) -> list[UnitRecord]:
    extents: list[dict[str, Extent]] = [{} for _ in metadata.classes]
    for name, record in metadata.splits.items():
        labels = PackSplit(folder, metadata, name).labels
        counts = np.bincount(labels, minlength=len(extents)).tolist()
        images = _Images(folder, record, metadata.size)
        with (folder / record.files["ids"].name).open("rb") as lines:
            for found, start, count in zip(extents, accumulate(counts, initial=0), counts, strict=False):
                if count:
                    named = b"".join(islice(lines, count))
                    found[name] = Extent(
                        samples=count,
                        id_bytes=len(named),
                        images=images.xxh3(start, count),
                        ids=xxh3_128_hexdigest(named),
                    )
    return [UnitRecord(splits=found, skipped=count) for found, count in zip(extents, skipped, strict=True)]


class _Images:
    """Where in which file each image of a split lies."""

    def __init__(self, folder: Path, split: SplitRecord, size: int) -> None:
        self._files = [folder / file.name for file in split.image_files]
        self._per_file, self._pixels = split.images_per_file(size), size**2

    def place(self, row: int) -> tuple[Path, int]:
        """The file and the offset in bytes."""
        file, row = divmod(row, self._per_file)
        return self._files[file], row * self._pixels

    def xxh3(self, first: int, count: int) -> str:
        """The checksum of so many images."""
        digest = xxh3_128()
        while count:
            path, offset = self.place(first)
            here = min(count, self._per_file - first % self._per_file)
            for block in blocks(path, offset, here * self._pixels):
                digest.update(block)
            first, count = first + here, count - here
        return digest.hexdigest()


class StoredPart:
    """A finished part.

    Raises:
        ConfigError: There is none.
        DataError: It is damaged, as far as that is seen without reading all of it.
    """

    def __init__(self, folder: Path) -> None:
        if folder.is_dir() and not (folder / FILE_NAME).is_file():
            raise ConfigError(
                f"{folder} is no finished part: it has no {FILE_NAME}",
                hint="the command that began it finishes it: fastsketch convert SOURCE PART --part i/n",
            )
        self.folder, self.metadata = folder, DatasetMetadata.load(folder)
        if self.metadata.part is None:
            raise ConfigError(f"{folder} is a whole data set, no part of one", hint="parts are made by convert --part")
        self.record: PartRecord = self.metadata.part
        for split in self.metadata.splits.values():
            for file in split.files.values():
                file.locate(folder)
        self.state = xxh3_128_hexdigest((folder / FILE_NAME).read_bytes())
        self._extents = {split: _placed(self.record.units, split) for split in self.metadata.splits}
        self._first_skipped = list(accumulate((unit.skipped for unit in self.record.units), initial=0))

    def samples(self, unit: int) -> list[StoredSample]:
        """All samples of its `unit`-th class, sorted by id, once all their bytes are what was written.

        Raises:
            DataError: They are not.
        """
        found: list[StoredSample] = []
        for name, split in self.metadata.splits.items():
            if unit not in self._extents[name]:
                continue
            extent, first, id_offset = self._extents[name][unit]
            images = _Images(self.folder, split, self.metadata.size)
            lines = b"".join(map(bytes, blocks(self.folder / split.files["ids"].name, id_offset, extent.id_bytes)))
            if (xxh3_128_hexdigest(lines), images.xxh3(first, extent.samples)) != (extent.ids, extent.images):
                raise self._damage(unit)
            ids = self._ids(unit, lines, extent.samples)
            found += [StoredSample(id, *images.place(row), name) for row, id in enumerate(ids, first)]
        skipped = self.metadata.skipped[self._first_skipped[unit] : self._first_skipped[unit + 1]]
        found += [StoredSample(each.id, self.folder, 0, SPLITS[0], each.reason) for each in skipped]
        return sorted(found, key=lambda sample: sample.id)

    def _ids(self, unit: int, lines: bytes, count: int) -> list[str]:
        try:
            ids = [json.loads(line) for line in lines.splitlines()]
        except (ValueError, RecursionError) as error:
            raise self._damage(unit) from error
        if len(ids) != count or not all(isinstance(each, str) for each in ids):
            raise self._damage(unit)
        return ids

    def _damage(self, unit: int) -> DataError:
        name = one_line(self.metadata.classes[unit], 80)
        return DataError(
            f"{self.folder}: class '{name}' is not as it was written: its checksum differs",
            hint=f"convert part {self.record.part} again, with --overwrite",
        )


def _placed(units: Sequence[UnitRecord], split: str) -> dict[int, tuple[Extent, int, int]]:
    """Unit → its extent in a split, its first image and the offset of its ids in bytes."""
    placed, first, id_offset = {}, 0, 0
    for unit, record in enumerate(units):
        if extent := record.splits.get(split):
            placed[unit] = (extent, first, id_offset)
            first, id_offset = first + extent.samples, id_offset + extent.id_bytes
    return placed


class StoredParts:
    """All parts of one conversion, as the source that they were converted from.

    Raises:
        ConfigError: They are not all the parts of one, each once.
    """

    splits = SPLITS

    def __init__(self, parts: Sequence[StoredPart]) -> None:
        self.parts = sorted(parts, key=lambda part: part.record.part.number)
        first = self.parts[0]
        for part in self.parts[1:]:
            _check_same_whole(first, part)
        _check_all_there(self.parts)
        self.kind, self.root = first.metadata.source.kind, first.folder
        self.class_names = tuple(first.record.classes)

    def samples(self, label: int) -> Sequence[StoredSample]:
        """All samples of one class, sorted by id."""
        unit, part = divmod(label, len(self.parts))
        return self.parts[part].samples(unit)

    def unread(self) -> Counter[str]:
        """None: whoever converted the parts was told."""
        return Counter()

    def state(self, label: int) -> str:
        """A digest of the part that the class is in."""
        return self.parts[label % len(self.parts)].state


def _check_same_whole(one: StoredPart, other: StoredPart) -> None:
    if one.record.part.count != other.record.part.count:
        raise ConfigError(
            f"{one.folder} is part {one.record.part}, {other.folder} part {other.record.part}",
            hint="merge parts of one division",
        )
    if one.record.plan != other.record.plan:
        ours, theirs = (each.metadata.model_dump(include={*_SETTINGS}) for each in (one, other))
        differ = [f"{key}: {ours[key]}, {theirs[key]}" for key in ours if ours[key] != theirs[key]]
        what = one_line(differ[0], 120) if differ else "classes or another setting"
        raise ConfigError(
            f"{one.folder} and {other.folder} are not parts of one conversion ({what})",
            hint="convert all parts with the same settings from the same source",
        )


def _check_all_there(parts: Sequence[StoredPart]) -> None:
    numbers = [part.record.part.number for part in parts]
    count = parts[0].record.part.count
    for one, other in pairwise(parts):
        if one.record.part == other.record.part:
            raise ConfigError(f"{one.folder} and {other.folder} are both part {one.record.part}", hint="name each once")
    if missing := sorted({*range(1, count + 1)} - {*numbers}):
        named = ", ".join(map(str, missing[:5])) + (", …" if len(missing) > 5 else "")
        raise ConfigError(
            f"{len(missing):,} of {count:,} parts {'is' if len(missing) == 1 else 'are'} missing: {named}",
            hint="name all parts: fastsketch merge PARTS... DATASET",
        )
