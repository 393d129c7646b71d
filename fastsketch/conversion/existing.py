"""Whether a data set is what a conversion would give, so that the same command again has nothing to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from fastsketch.config import ConvertConfig
from fastsketch.conversion.journal import Journal
from fastsketch.conversion.plan import Plan
from fastsketch.conversion.reading import Reading
from fastsketch.errors import FastSketchError
from fastsketch.formats.metadata import FILE_NAME, DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.sources.files import is_file


def existing(folder: Path, plan: Plan, config: ConvertConfig, formats: Sequence[str]) -> DatasetMetadata | None:
    """The data set in `folder` if it is of these sketches, by name, with these settings; else None.

    Whether an image has been drawn over since is not looked at: that would be to convert it again.
    """
    if config.overwrite or not is_file(folder / FILE_NAME):
        return None
    try:
        there = DatasetMetadata.load(folder)
        settings = (there.source, Reading.of(there), tuple(there.classes))
        if settings != (plan.record, Reading.of(config), plan.classes):
            return None
        if (there.part and (there.part.part, there.part.plan)) != (plan.part and (plan.part, plan.digest)):
            return None
        if (config.strict and there.skipped) or any(
            set(formats) - set(split.formats) for split in there.splits.values()
        ):
            return None
        held = {split: PackSplit(folder, there, split).ids() for split in there.splits}
    except FastSketchError:  # it is damaged: `--overwrite` is the way then
        return None
    return there if held == _expected(there, plan) else None


def _expected(there: DatasetMetadata, plan: Plan) -> dict[str, list[str]]:
    """The ids of each split that the source gives today, but for those that could not be read."""
    skipped = {each.id for each in there.skipped}
    ids: dict[str, list[str]] = {}
    items = (item for item in plan.items(Journal(fingerprint="")) if item.sample.id not in skipped)
    for split, group in groupby(items, key=lambda item: item.split):
        ids.setdefault(split, []).extend(item.sample.id for item in group)
    return ids
