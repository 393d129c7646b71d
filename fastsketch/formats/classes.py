"""How two lists of classes differ, in words."""

from __future__ import annotations

from fastsketch.errors import one_line

MOST_NAMED = 3
"""So many of the classes that differ are named."""


def difference(own: list[str], others: list[str]) -> str:
    """How the classes of another differ from one's own, which they do, in a line."""
    sides = (("lacks", set(own) - set(others)), ("has besides", set(others) - set(own)))
    differing = [f"{verb} {_named(sorted(names))}" for verb, names in sides if names]
    if differing:
        return f"it {' and '.join(differing)}"
    first = next(index for index, (one, other) in enumerate(zip(own, others, strict=False)) if one != other)
    return f"they are in another order: where the run has {_named([own[first]])}, it has {_named([others[first]])}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(f"'{one_line(name, 40)}'" for name in names[:MOST_NAMED]) + more
