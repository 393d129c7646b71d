"""Named configurations: a YAML file of what differs from the defaults. Ours lie in this folder.

Dotted overrides (`optimizer.lr=3e-4`) come on top.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fastsketch.config import Recipe, validated
from fastsketch.errors import ConfigError, one_line
from fastsketch.recipes.plain import LONGEST, parse

MOST_KEYS = 4
"""Parts of a dotted key; two are the most that any has."""

_FOLDER = resources.files(__name__)


def recipe_names() -> list[str]:
    """Names of the recipes that come with fastsketch."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | None = None, overrides: Iterable[str] = (), **settings: object) -> Recipe:
    """Defaults ← a recipe ← `settings` ← dotted overrides.

    Args:
        recipe: The name of one of our recipes, or the path of a YAML file (a run's `config.yaml` is one).
        overrides: `a.b=value`, the value in YAML.
        settings: `a__b=value`; None means not given.

    Raises:
        ConfigError: All that is wrong with the result, in one message.
    """
    values = _read(recipe) if recipe is not None else {}
    for key, value in settings.items():
        if value is not None:
            _assign(values, key.split("__"), value)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"'{one_line(override, 80)}' is not an override", hint="write it as key=value: optimizer.lr=3e-4"
            )
        try:
            _assign(values, key.strip().split(".", MOST_KEYS), parse(text))
        except ValueError as error:
            raise ConfigError(f"'{one_line(override, 80)}': the value is not YAML ({error})") from error
    origin = f"recipe {one_line(recipe, 200)}" if recipe is not None else "configuration"
    return validated(Recipe, values, origin)


def recipe_text(recipe: str) -> str:
    """The YAML of one of our recipes, or of a file, with its comments.

    Raises:
        ConfigError: There is no such recipe or file, or it is no text.
    """
    path = Path(recipe)
    if recipe in recipe_names():
        return (_FOLDER / f"{recipe}.yaml").read_text(encoding="utf-8")
    if path.is_file():
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise ConfigError(f"{recipe} is no recipe: it has more than {LONGEST:,} bytes")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{recipe} is not YAML: not UTF-8 text") from error
        if odd := yaml.reader.Reader.NON_PRINTABLE.search(text):  # it is printed as it is, and a terminal obeys some
            raise ConfigError(f"{recipe} is not YAML: it holds the character {odd.group()!r}")
        return text
    near = difflib.get_close_matches(recipe[:80], recipe_names(), n=1)
    raise ConfigError(
        f"no recipe or file '{one_line(recipe, 200)}'" + (f"; did you mean '{near[0]}'?" if near else ""),
        hint="`fastsketch recipes` lists them",
    )


def _read(recipe: str) -> dict[str, Any]:
    try:
        values = parse(recipe_text(recipe))
    except ValueError as error:
        raise ConfigError(f"{recipe} is not YAML: {error}") from error
    if values is None:  # nothing but comments
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{recipe}: expected a mapping of sections at the top level")
    return values


def _assign(values: dict[str, Any], keys: list[str], value: object) -> None:
    """Set a nested key, making the mappings on the way."""
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[keys[-1]] = value
