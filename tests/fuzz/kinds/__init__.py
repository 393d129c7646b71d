"""The kinds of cases: a module each, whose function `case` is the generator."""

from __future__ import annotations

import importlib

from fuzz.suite import Generator

KINDS = {
    "images": 2600,
    "drawings": 1300,
    "lists": 700,
    "recipes": 1400,
    "datasets": 1200,
    "runs": 900,
    "formats": 350,
    "weights": 450,
    "names": 200,
    "options": 900,
}
"""How many of 10,000 cases each has."""


def generator(kind: str) -> Generator:
    """The generator of a kind; it imports torch and the like, which the process that hands out cases needs not."""
    generate: Generator = importlib.import_module(f"fuzz.kinds.{kind}").case
    return generate
