"""Some classes of a source, as a source of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fastsketch.sources.sample import Sample, Source


class SomeClasses:
    """The classes with these labels, in that order; no other class is ever listed.

    Args:
        source: All classes.
        labels: Those that are kept.
    """

    def __init__(self, source: Source, labels: Sequence[int]) -> None:
        self._source, self._labels = source, labels
        self.kind, self.root, self.splits = source.kind, source.root, source.splits
        self.class_names = tuple(source.class_names[label] for label in labels)

    def samples(self, label: int) -> Sequence[Sample]:
        """All samples of one class, sorted by id."""
        return self._source.samples(self._labels[label])

    def unread(self) -> Counter[str]:
        """As the source has it: of the classes that were listed."""
        return self._source.unread()

    def state(self, label: int) -> str:
        """A digest of what the files of one class are on disk."""
        return self._source.state(self._labels[label])
