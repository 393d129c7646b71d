"""Named configurations: a YAML file of what differs from the defaults. Ours lie in this folder.

Settings (`optimizer__lr=3e-4` in Python) and dotted overrides (`optimizer.lr=3e-4` on the command line) come on top.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from fastsketch.config import Recipe, validated
from fastsketch.errors import ConfigError, one_line
from fastsketch.recipes.plain import LONGEST, parse

MOST_KEYS = 4
"""Parts of a dotted key; two are the most that any has."""

COMMON = {
    "data": "data.path",
    "batch_size": "data.batch_size",
    "verify": "data.verify",
    "model": "model.name",
    "weights": "model.weights",
    "pretrained": "model.pretrained",
    "lr": "optimizer.lr",
    "epochs": "training.epochs",
    "seed": "training.seed",
    "device": "training.device",
    "image_size": "training.image_sizes",
    "max_minutes": "training.max_minutes",
}
"""Settings so common that they need no section, in Python and as options of the command."""

NO_WORKERS = "training has no workers to set: batches come whole from memory and are augmented on the device"

_FOLDER = resources.files(__name__)


def recipe_names() -> list[str]:
    """Names of the recipes that come with fastsketch."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | Path | Recipe | None = None, overrides: Iterable[str] = (), **settings: object) -> Recipe:
    """Defaults ← a recipe ← `settings` ← dotted overrides.

    Args:
        recipe: The name of one of our recipes, the path of a YAML file (a run's `config.yaml` is one), or a recipe.
        overrides: `section.key=value`, the value in YAML.
        settings: What is to be set, by the names in `COMMON` (`lr=3e-4`), or with two underscores for the dot that
            Python does not allow in a name: `optimizer__lr=3e-4`. `**{"optimizer.lr": 3e-4}` is the same. None means
            not given.

    Raises:
        ConfigError: All that is wrong with the result, in one message.
    """
    values = {} if recipe is None else _read(recipe)
    for key, value in settings.items():
        if value is not None:
            _assign(values, _dotted(key, value).split(".", MOST_KEYS), [value] if _is_one_size(key, value) else value)
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
    origin = f"recipe {one_line(recipe, 200)}" if isinstance(recipe, str | Path) else "configuration"
    return validated(Recipe, values, origin)


def _dotted(key: str, value: object) -> str:
    """The key that a setting means.

    Raises:
        ConfigError: It is one that other libraries have, and training does without.
    """
    if key in ("workers", "num_workers"):
        raise ConfigError(NO_WORKERS, hint=f"leave out {key}")
    if isinstance(value, Mapping):  # a whole section
        return key
    return COMMON.get(key, key.replace("__", "."))


def _is_one_size(key: str, value: object) -> bool:
    return key == "image_size" and isinstance(value, int)


def recipe_text(recipe: str | Path) -> str:
    """The YAML of one of our recipes, or of a file, with its comments.

    Raises:
        ConfigError: There is no such recipe or file, or it is no text.
    """
    recipe, path = str(recipe), Path(recipe)
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


def _read(recipe: str | Path | Recipe) -> dict[str, Any]:
    if isinstance(recipe, Recipe):
        return recipe.model_dump()
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
