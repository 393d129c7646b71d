"""One of n parts of a conversion: a data set of every n-th class, which also says what it is a part of.

A unit of work is a class: which they are follows from the source alone, never from the number of parts. Of each unit
its part records the checksums, so that `merge` finds damage before it copies a byte of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from fastsketch.errors import ConfigError

Each = TypeVar("Each")

Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(min_length=1, max_length=4096)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(_Model):
    """Which part: the `number`-th of `count`, from 1, has every `count`-th class from the `number`-th on."""

    number: PositiveInt
    count: PositiveInt

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read `3/7`.

        Raises:
            ConfigError: It is no part.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise ConfigError(f"'{text}' is no part", hint="the third of seven is 3/7, the first 1/7, the last 7/7")
        return cls(number=int(number), count=int(count))

    def of(self, classes: Sequence[Each]) -> Sequence[Each]:
        """What belongs to it of something that there is for each class."""
        return classes[self.number - 1 :: self.count]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


class Extent(_Model):
    """What one class takes of one split's files; where it begins is the sum of all before.

    Attributes:
        samples: Its images.
        id_bytes: The length of its ids.
        images: XXH3-128 of its pixels.
        ids: XXH3-128 of its ids.
    """

    samples: PositiveInt
    id_bytes: PositiveInt
    images: Checksum
    ids: Checksum


class UnitRecord(_Model):
    """One class of a part: its extents by split, and how many of its samples could not be decoded."""

    splits: dict[str, Extent]
    skipped: NonNegativeInt


class PartRecord(_Model):
    """What a part says of the whole.

    Attributes:
        part: Which one it is.
        plan: A digest of all that decides the bytes of the whole. Parts belong together if they have the same.
        classes: The classes of the whole, in label order.
        units: One for each of the part's own classes.
    """

    part: Part
    plan: Checksum
    classes: Annotated[list[Name], Field(min_length=1)]
    units: list[UnitRecord]

    def adds_up(self, splits: Mapping[str, tuple[int, int]], skipped: int) -> bool:
        """Whether the units are, together, so many samples and bytes of ids by split, and so many that were skipped."""
        found = {
            name: (sum(each.samples for each in extents), sum(each.id_bytes for each in extents))
            for name in {name for unit in self.units for name in unit.splits}
            if (extents := [unit.splits[name] for unit in self.units if name in unit.splits])
        }
        return found == splits and skipped == sum(unit.skipped for unit in self.units)

    @model_validator(mode="after")
    def _consistent(self) -> PartRecord:
        if len(self.units) != len(self.part.of(self.classes)):
            raise ValueError("a part has one unit for each of its classes")
        return self
