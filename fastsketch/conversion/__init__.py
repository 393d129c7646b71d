"""Conversion: raw sketches, decoded and resized once, to a data set in any of the formats."""

from __future__ import annotations

from fastsketch.conversion.convert import add_formats, convert_dataset
from fastsketch.conversion.merge import merge_parts

__all__ = ["add_formats", "convert_dataset", "merge_parts"]
