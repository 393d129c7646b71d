"""What a conversion does, step by step: a pure function of the source and the configuration."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from fastsketch.config import ConvertConfig
from fastsketch.conversion.journal import Journal
from fastsketch.errors import ConfigError, DataError
from fastsketch.sources import Source
from fastsketch.sources.sample import Sample
from fastsketch.sources.splits import SplitSpec

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


def chosen_classes(source: Source, config: ConvertConfig) -> tuple[str, ...]:
    """The classes to convert.

    Raises:
        ConfigError: More are asked for than there are, or one alone.
        DataError: The source has one alone.
    """
    if config.classes and config.classes > len(source.class_names):
        raise ConfigError(
            f"the source has {len(source.class_names)} classes, fewer than the {config.classes} asked for"
        )
    if len(source.class_names) == 1:
        raise DataError(
            f"{source.root}: one class alone, '{source.class_names[0]}'",
            hint="there is nothing to tell it from: convert the folder that holds all classes",
        )
    if config.classes == 1:
        raise ConfigError("one class alone is asked for", hint="a classifier tells two or more apart")
    return source.class_names[: config.classes]


def split_spec(source: Source, config: ConvertConfig) -> SplitSpec | None:
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
                source.root,
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


def plan(
    source: Source, classes: tuple[str, ...], spec: SplitSpec | None, seed: int, journal: Journal
) -> Iterator[Item]:
    """All items from where the journal left off; classes already done are not even listed."""
    first_label, first_offset = journal.label, journal.offset
    for label in range(first_label, len(classes)):
        state = source.state(label)  # before the listing: what changes from here on is noticed by the next call
        samples = source.samples(label)
        splits = [sample.split for sample in samples]
        if spec:
            divided = [offset for offset, split in enumerate(splits) if split in (None, "train")]
            for offset, split in zip(divided, spec.assign(classes[label], len(divided), seed), strict=True):
                splits[offset] = split
        for offset in range(first_offset if label == first_label else 0, len(samples)):
            split = splits[offset]
            if split is not None:
                yield Item(samples[offset], label, split, offset, len(samples), state)
    if unread := source.unread():
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in unread.most_common())
        log.warning("%s: passed over, for such files are not read: %s", source.root, kinds)
