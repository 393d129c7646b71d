"""What decides how an original becomes the image that is stored of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class HasReading(Protocol):
    """Settings of a conversion, and the data set that came of them; attributes as those of `Reading`."""

    @property
    def size(self) -> int:  # noqa: D102
        ...

    @property
    def resize(self) -> str:  # noqa: D102
        ...

    @property
    def invert(self) -> str:  # noqa: D102
        ...

    @property
    def clean_photo(self) -> bool:  # noqa: D102
        ...


class Reading(NamedTuple):
    """The same file read the same way gives the same bytes: in `convert`, and wherever a model is asked later.

    Attributes:
        size: Side in pixels of the square image.
        resize: A key of `RESAMPLING`; strokes are rasterised at `size` and need none.
        invert: Whether images are turned over, light to dark: `yes`, `no`, or `auto` for those with a dark border.
        clean_photo: Whether images are cleaned as photographs.
    """

    size: int
    resize: str = "bilinear"
    invert: str = "no"
    clean_photo: bool = False

    @classmethod
    def of(cls, settings: HasReading) -> Reading:
        """How a conversion with these settings reads, or how a data set was read."""
        return cls(settings.size, settings.resize, settings.invert, settings.clean_photo)
