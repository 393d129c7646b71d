"""All that is wrong with a configuration, a line each."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fastsketch.errors import ConfigError, one_line

MOST_PROBLEMS = 10
"""So many are told of a configuration that is nothing but wrong."""

_SHORT = reprlib.Repr()
_SHORT.maxlong = _SHORT.maxstring = _SHORT.maxother = 80

_IN_FULL = {"lr": "learning rate", "wd": "weight decay", "bs": "batch size", "img": "image"}
"""How other libraries abridge what is a key here, and the other way round."""

_ModelT = TypeVar("_ModelT", bound=BaseModel)


def validated(model: type[_ModelT], values: Mapping[str, Any], origin: str) -> _ModelT:
    """Validate `values` as `model`.

    Raises:
        ConfigError: Everything that is wrong, a line each, with the nearest valid key for each unknown one.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise report(model, error, origin) from None


def report(model: type[BaseModel], error: ValidationError, origin: str) -> ConfigError:
    """pydantic's error as ours: everything that is wrong with `origin`, a line each."""
    found = error.errors(include_url=False, include_context=False)
    problems = [_problem(model, details) for details in found[:MOST_PROBLEMS]]
    if len(found) > MOST_PROBLEMS:
        problems.append(f"and {len(found) - MOST_PROBLEMS:,} more")
    count = "1 problem" if len(found) == 1 else f"{len(found):,} problems"
    return ConfigError(f"{count} in the {origin}:\n" + "\n".join(f"  {problem}" for problem in problems))


def nearest(name: str, keys: Sequence[str]) -> str | None:
    """The key that `name` most likely means, whatever other libraries call it; None if none is near.

    Args:
        name: What was written, such as `training.lr`, `img_size` or `augment.rotate`.
        keys: All that there are, dotted.
    """
    last = name.rpartition(".")[2]
    # Most often the section was forgotten or mixed up: `lr` and `training.lr` mean `optimizer.lr`.
    if same := [key for key in keys if key.rpartition(".")[2] == last]:
        return same[0]
    words = _words(last)
    alike = {key: len(words & _words(key)) / len(words | _words(key)) for key in keys}
    near = [key for key in keys if alike[key] >= 0.5]
    if near:
        return max(near, key=lambda key: (alike[key], difflib.SequenceMatcher(None, last, key).ratio()))
    return next(iter(difflib.get_close_matches(name, keys, n=1, cutoff=0.5)), None)


def suggestion(name: str, keys: Sequence[str]) -> str:
    """How a line about an unknown `name` ends: with the `nearest` key in brackets, or not at all."""
    near = nearest(name, keys)
    return f" (did you mean {near}?)" if near else ""


def _words(key: str) -> frozenset[str]:
    """The words of a key without its section, singular and unabridged: `img_sizes` → image, size."""
    words = " ".join(_IN_FULL.get(word, word) for word in re.split(r"[\W_]+", key.rpartition(".")[2].lower()))
    return frozenset(word.removesuffix("s") for word in words.split())


def _problem(model: type[BaseModel], details: ErrorDetails) -> str:
    """One of pydantic's errors as one line."""
    key = one_line(".".join(str(part) for part in details["loc"]), 80)
    if details["type"] == "extra_forbidden":
        return f"{key}: unknown key{suggestion(key, dotted_keys(model))}"
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


def is_section(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Whether a field of a configuration, by its type, is a section with keys of its own."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def dotted_keys(model: type[BaseModel]) -> list[str]:
    """All keys of a configuration, its sections included: `optimizer`, `optimizer.name`, ..."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        if is_section(field.annotation):
            keys += [name, *(f"{name}.{key}" for key in dotted_keys(field.annotation))]
        else:
            keys.append(name)
    return keys
