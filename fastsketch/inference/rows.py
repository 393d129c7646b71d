"""What is said of one input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastsketch.inference.classifier import Prediction


class Row(NamedTuple):
    """One input and what is said of it.

    Attributes:
        input: The path of a file, the place of a drawing in a file, the id of a stored sketch.
        labels: Names of classes, the likeliest first; none of an input that could not be read.
        probabilities: Theirs, in [0, 1].
        ids: Their places among the model's classes.
        error: Why it could not be read.
    """

    input: str
    labels: Sequence[str] = ()
    probabilities: Sequence[float] = ()
    ids: Sequence[int] = ()
    error: str | None = None

    @classmethod
    def of(cls, input: str, prediction: Prediction) -> Row:
        """What a classifier said."""
        return cls(input, *prediction)

    @classmethod
    def unread(cls, input: str, reason: str) -> Row:
        """Of an input that could not be read."""
        return cls(input, error=reason)

    def above(self, confidence: float) -> Row:
        """The same with those classes only that are at least so likely: none, perhaps."""
        count = sum(each >= confidence for each in self.probabilities)
        return self._replace(labels=self.labels[:count], probabilities=self.probabilities[:count], ids=self.ids[:count])

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it: either the three lists or the error."""
        if self.error is not None:
            return {"input": self.input, "error": self.error}
        return {
            "input": self.input,
            "labels": list(self.labels),
            "probabilities": list(self.probabilities),
            "ids": list(self.ids),
        }
