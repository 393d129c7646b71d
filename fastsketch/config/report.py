"""All that is wrong with a configuration, a line each."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fastsketch.errors import ConfigError, one_line

MOST_PROBLEMS = 10
"""So many are told of a configuration that is nothing but wrong."""

_SHORT = reprlib.Repr()
_SHORT.maxlong = _SHORT.maxstring = _SHORT.maxother = 80

_ModelT = TypeVar("_ModelT", bound=BaseModel)


def validated(model: type[_ModelT], values: Mapping[str, Any], origin: str) -> _ModelT:
    """Validate `values` as `model`.

    Raises:
        ConfigError: Everything that is wrong, a line each, with the nearest valid key for each unknown one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
    problems = [_problem(model, details) for details in found[:MOST_PROBLEMS]]
    if len(found) > MOST_PROBLEMS:
        problems.append(f"and {len(found) - MOST_PROBLEMS:,} more")
    count = "1 problem" if len(found) == 1 else f"{len(found):,} problems"
    raise ConfigError(f"{count} in the {origin}:\n" + "\n".join(f"  {problem}" for problem in problems))


def _problem(model: type[BaseModel], details: ErrorDetails) -> str:
    """One of pydantic's errors as one line."""
    key = one_line(".".join(str(part) for part in details["loc"]), 80)
    if details["type"] == "extra_forbidden":
        keys = _dotted_keys(model)
        # Most often the section was forgotten or mixed up: `lr` and `training.lr` mean `optimizer.lr`.
        same = [known for known in keys if known.split(".")[-1] == key.split(".")[-1]]
        near = same or difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
        return f"{key}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    message = one_line(details["msg"].removeprefix("Value error, ").removeprefix("Input "), 200)
    if details["type"] == "value_error" and isinstance(details["input"], dict | BaseModel):
        return f"{key}: {message}".removeprefix(": ")  # about several keys of a section together, which it names
    return f"{key}: {message} (got {_shown(details['input'])})"


def _shown(value: object) -> str:
    """A value as Python writes it, short whatever it is."""
    try:
        return one_line(_SHORT.repr(value), 80)
    except ValueError:  # Python does not write numbers of more than 4,300 digits
        return "a huge number"


def _dotted_keys(model: type[BaseModel]) -> list[str]:
    keys: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += [name, *(f"{name}.{key}" for key in _dotted_keys(inner))]
        else:
            keys.append(name)
    return keys
