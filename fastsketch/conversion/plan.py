"""What a conversion does, step by step: a pure function of the source and the configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from fastsketch.config import ConvertConfig
from fastsketch.conversion.journal import Journal
from fastsketch.errors import ConfigError, DataError
from fastsketch.formats.metadata import SourceRecord
from fastsketch.formats.parts import Part
from fastsketch.sources import Source
from fastsketch.sources.sample import Sample
from fastsketch.sources.some import SomeClasses
from fastsketch.sources.splits import SplitSpec
from fastsketch.urls import url_of, written
from fastsketch.version import __version__

log = logging.getLogger(__name__)

DEFAULT_SPLIT = "0.8/0.1/0.1"
"""For sources that do not come split."""


@dataclass(frozen=True, slots=True)
class Item:
    """One step of the plan.

    Attributes:
        sample: What is to be decoded.
        label: Its class.
        split: Where it goes.
        offset: Its place among all samples of its class.
        listed: How many these are.
        state: What the files of its class were before they were listed (`Source.state`).
    """

    sample: Sample
    label: int
    split: str
    offset: int
    listed: int
    state: str

    @property
    def share(self) -> float:
        """Of the class that is done after this item, in (0, 1]."""
        return (self.offset + 1) / self.listed


@dataclass(frozen=True, slots=True)
class Plan:
    """What is converted, and how it is divided.

    Attributes:
        source: Where the samples come from.
        roots: Where the source lies on the disk.
        classes: The classes to convert, in label order.
        spec: How to divide a class; None where the samples come divided.
        seed: Of the division.
        record: What the data set says of its source.
        settings: All that decides the bytes of the whole, wherever the source lies.
        looks: Images that are known to look inverted, and gray, beside those that are found to.
        part: The part that this is.
        whole: The classes of all parts.
    """

    source: Source
    roots: tuple[Path, ...]
    classes: tuple[str, ...]
    spec: SplitSpec | None
    seed: int
    record: SourceRecord
    settings: str
    looks: tuple[int, int] = (0, 0)
    part: Part | None = None
    whole: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: Source, config: ConvertConfig) -> Plan:
        """The plan for a source, or for one part of it.

        Raises:
            ConfigError: More classes or parts are asked for than there are, or one class alone; the split is none, or
                contradicts the source.
            DataError: The source has one class alone.
        """
        spec = _split_spec(source, config)
        classes = _chosen_classes(source, config)
        kept = config.model_dump(include={"size", "resize", "invert", "clean_photo", "classes", "seed", "strict"})
        record = SourceRecord(
            kind=source.kind,
            split=None if spec is None else config.split or DEFAULT_SPLIT,
            seed=None if spec is None else config.seed,
        )
        settings = f"{__version__} {source.kind} {source.class_names} {spec} {kept}"
        plan = cls(source, (source.root,), classes, spec, config.seed, record, settings)
        return plan.narrowed(Part.parse(config.part)) if config.part else plan

    @property
    def fingerprint(self) -> str:
        """All that decides the bytes here; a partial conversion is continued only if it is the same."""
        roots = [url_of(root) or os.path.realpath(root) for root in self.roots]
        return f"{self.settings} {roots}" + (f" part {self.part}" if self.part else "")

    @property
    def digest(self) -> str:
        """XXH3-128 of what all parts of one whole have in common, whichever machine they are converted on."""
        return xxh3_128_hexdigest(self.settings.encode(errors="surrogateescape"))

    def narrowed(self, part: Part) -> Plan:
        """The same for one part of the classes.

        Raises:
            ConfigError: There are fewer classes than parts.
        """
        if part.count > len(self.classes):
            raise ConfigError(
                f"{part.count:,} parts are more than the {len(self.classes):,} classes",
                hint="a class is not divided: ask for as many parts as there are classes, or fewer",
            )
        labels = part.of(range(len(self.classes)))
        some = SomeClasses(self.source, labels)
        return replace(self, source=some, classes=some.class_names, part=part, whole=self.classes)

    def items(self, journal: Journal) -> Iterator[Item]:
        """All items from where the journal left off; classes already done are not even listed."""
        first_label, first_offset = journal.label, journal.offset
        for label in range(first_label, len(self.classes)):
            state = self.source.state(label)  # before the listing: what changes from here on is noticed next time
            samples = self.source.samples(label)
            splits = [sample.split for sample in samples]
            if self.spec:
                divided = [offset for offset, split in enumerate(splits) if split in (None, "train")]
                assigned = self.spec.assign(self.classes[label], len(divided), self.seed)
                for offset, split in zip(divided, assigned, strict=True):
                    splits[offset] = split
            for offset in range(first_offset if label == first_label else 0, len(samples)):
                split = splits[offset]
                if split is not None:
                    yield Item(samples[offset], label, split, offset, len(samples), state)
        if unread := self.source.unread():
            kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in unread.most_common())
            log.warning("%s: passed over, for such files are not read: %s", written(self.roots[0]), kinds)


def _chosen_classes(source: Source, config: ConvertConfig) -> tuple[str, ...]:
    if config.classes and config.classes > len(source.class_names):
        raise ConfigError(
            f"the source has {len(source.class_names)} classes, fewer than the {config.classes} asked for"
        )
    if len(source.class_names) == 1:
        raise DataError(
            f"{written(source.root)}: one class alone, '{source.class_names[0]}'",
            hint="there is nothing to tell it from: convert the folder that holds all classes",
        )
    if config.classes == 1:
        raise ConfigError("one class alone is asked for", hint="a classifier tells two or more apart")
    return source.class_names[: config.classes]


def _split_spec(source: Source, config: ConvertConfig) -> SplitSpec | None:
    """How to divide the source, or its `train/` where it has no `val/`; None where it brings the splits that it needs.

    Raises:
        ConfigError: The split that is asked for is none, or contradicts the source.
    """
    if not source.splits:
        if config.split is None:
            log.info("the source has no splits: dividing every class %s with seed %d", DEFAULT_SPLIT, config.seed)
        return SplitSpec.parse(config.split or DEFAULT_SPLIT)
    if config.split is None:
        if "val" not in source.splits:
            log.warning(
                "%s has no val/, by which training chooses the best epoch: --split 0.9/0.1 takes it from train/",
                written(source.root),
            )
        return None
    if "val" in source.splits:
        raise ConfigError("the source already has train/val/test folders", hint="drop --split")
    spec = SplitSpec.parse(config.split)
    if "test" in source.splits and len(spec.parts) > 2:
        raise ConfigError(
            f"the source has a test/ folder: '{config.split}' would divide its train/ into a second one",
            hint="give two numbers, for train and val: --split 0.9/0.1",
        )
    return spec
