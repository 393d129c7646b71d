"""What every key of a recipe means, for people: made from docstrings and types, so that it cannot be outdated."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from fastsketch.config.recipe import Recipe
from fastsketch.config.report import is_section, suggestion
from fastsketch.errors import ConfigError

_ATTRIBUTE = re.compile(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", re.MULTILINE | re.DOTALL)
_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
_ENDLESS = 2**63
"""Of a seed, which nobody needs to be told."""
_TYPES = {"boolean": "true | false", "string": "text"}


class Key(NamedTuple):
    """One thing that a recipe can say.

    Attributes:
        name: Dotted, as `--set` takes it: `optimizer.lr`.
        type: What it takes: `number > 0`, `auto | eager | ...`, in words of YAML.
        default: In YAML.
        meaning: Of its docstring, on one line, with Markdown's code marks.
    """

    name: str
    type: str
    default: str
    meaning: str


def section_names() -> list[str]:
    """The sections of a recipe, in its order: `data`, `augment`, ..."""
    return [name for name, field in Recipe.model_fields.items() if is_section(field.annotation)]


def key_reference(section: str | None = None) -> list[Key]:
    """Every key of a recipe, in its order.

    Args:
        section: Only those of this section.

    Raises:
        ConfigError: There is no such section.
    """
    if section is None:
        return list(_keys(Recipe))
    if section not in section_names():
        raise ConfigError(
            f"no section '{section}'{suggestion(section, section_names())}",
            hint=f"there are: {', '.join(section_names())}",
        )
    return [key for key in _keys(Recipe) if key.name.startswith(f"{section}.")]


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    meanings, schemas = _meanings(model), model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        if is_section(field.annotation):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            default = json.dumps(field.get_default()).strip('"') or '""'
            yield Key(f"{prefix}{name}", _type(schemas[name]), default, meanings.get(name, ""))


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstring's `Attributes:` say, each on one line, with YAML's word for None."""
    attributes = inspect.cleandoc(model.__doc__ or "").partition("Attributes:\n")[2]
    found = {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(attributes)}
    return {name: re.sub(r"\bNone\b", "null", text) for name, text in found.items()}


def _type(schema: Mapping[str, Any]) -> str:
    """What a JSON schema allows, in a few words."""
    if choices := schema.get("anyOf"):
        return " | ".join(_type(choice) for choice in choices)
    if values := schema.get("enum"):
        return " | ".join(map(str, values))
    if "const" in schema:
        return str(schema["const"])
    if schema["type"] == "array":
        parts = schema.get("prefixItems")
        return f"[{', '.join(map(_type, parts))}]" if parts else f"[{_type(schema['items'])}, ...]"
    name = "path" if schema.get("format") == "path" else _TYPES.get(schema["type"], schema["type"])
    bounds = [f"{sign} {schema[bound]:,}" for bound, sign in _BOUNDS if schema.get(bound, _ENDLESS) != _ENDLESS]
    return " ".join([name, " and ".join(bounds)]).strip()
