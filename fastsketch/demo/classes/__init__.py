"""What the demo data set shows: 26 everyday things."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from fastsketch.demo.classes.animals import ANIMALS
from fastsketch.demo.classes.belongings import BELONGINGS
from fastsketch.demo.classes.figure import Figure
from fastsketch.demo.classes.outdoors import OUTDOORS
from fastsketch.demo.classes.plants import PLANTS
from fastsketch.demo.classes.tools import TOOLS

FIGURES: Mapping[str, Figure] = MappingProxyType({**ANIMALS, **BELONGINGS, **OUTDOORS, **PLANTS, **TOOLS})
"""Class name to figure."""
