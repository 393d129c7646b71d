"""Cases that once failed, made small by hand, by name; `make test` runs a share of them, `make test-all` all.

A name begins with the finding it is (`H4`, `M7 list`). An entry fills a folder and returns its commands, as a
generator does; what it takes from a `Random` it must not need.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzz.case import Case
from fuzz.suite import Generator
from fuzz.templates import Templates

Entry = Callable[[Path, Templates], Case]
_entries: dict[str, Generator] = {}


def entry(name: str) -> Callable[[Entry], Entry]:
    """Add a function (folder, templates) → case to the corpus."""

    def add(function: Entry) -> Entry:
        assert name not in _entries, name
        _entries[name] = lambda rng, folder, templates: function(folder, templates)
        return function

    return add


def entries() -> dict[str, Generator]:
    """The whole corpus."""
    from fuzz.corpus import commands, datasets, runs, sources  # noqa: F401

    return dict(_entries)


def share(step: int) -> dict[str, Generator]:
    """Every `step`-th entry, and the first of each finding; 1: all."""
    firsts = {name.split()[0]: name for name in reversed(entries())}
    return {
        name: entry
        for number, (name, entry) in enumerate(entries().items())
        if number % step == 0 or name in firsts.values()
    }
