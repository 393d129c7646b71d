"""Whether two models, or a model and a data set, know the same classes."""

from __future__ import annotations

from fastsketch.errors import ConfigError, one_line

MOST_NAMED = 3
"""So many of the classes that differ are named."""


def check_same_classes(own: list[str], others: list[str], message: str) -> None:
    """Make sure that another's classes are one's own, in the same order.

    Raises:
        ConfigError: They are not: `message`, and how they differ.
    """
    if own != others:
        raise ConfigError(message, hint=_difference(own, others))


def _difference(own: list[str], others: list[str]) -> str:
    """How two lists of classes differ, in a line."""
    sides = (("lacks", set(own) - set(others)), ("has besides", set(others) - set(own)))
    differing = [f"{verb} {_named(sorted(names))}" for verb, names in sides if names]
    if differing:
        return f"it {' and '.join(differing)}"
    first = next(index for index, (one, other) in enumerate(zip(own, others, strict=False)) if one != other)
    return f"they are in another order: where the run has {_named([own[first]])}, it has {_named([others[first]])}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(f"'{one_line(name, 40)}'" for name in names[:MOST_NAMED]) + more
