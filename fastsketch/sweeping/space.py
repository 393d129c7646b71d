"""Which keys of a recipe are tried, and with which values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from fastsketch.config import Recipe
from fastsketch.errors import ConfigError, one_line
from fastsketch.recipes import load_recipe
from fastsketch.recipes.plain import parse

if TYPE_CHECKING:
    from optuna import Trial

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Range(BaseModel):
    """Numbers from `low` to `high`, whole ones if both are.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Try orders of magnitude alike.
        step: Try multiples of it alone, beginning with `low`.
    """

    model_config = ConfigDict(extra="forbid")

    low: int | _Finite
    high: int | _Finite
    log: bool = False
    step: int | _Finite | None = None

    @model_validator(mode="after")
    def _sensible(self) -> Range:
        if not self.low < self.high:
            raise ValueError("low is to be less than high")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log wants low above 0, and no step")
        if self.step is not None and self.step <= 0:
            raise ValueError("step is to be above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether the numbers are whole."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step) if value is not None)


Choices: TypeAlias = Annotated[list[bool | int | _Finite | str], Field(min_length=2)]
Space: TypeAlias = dict[str, Range | Choices]

_SPACE = TypeAdapter(Space)


def read_space(path: Path, recipe: Recipe) -> Space:
    """Read a space, and see that every end of every range is a setting that the recipe takes.

    Raises:
        ConfigError: There is no such file, it is no space, or a key or a value is none of the recipe's.
    """
    try:
        values = parse(path.read_text(encoding="utf-8"))
        space = _SPACE.validate_python(values, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        raise ConfigError(
            f"{path}: {where or 'as a whole'}: {first['msg'].removeprefix('Value error, ')}",
            hint="a key has a list of values, or low and high: optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}",
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: {one_line(reason, 200)}") from error
    if not space:
        raise ConfigError(f"{path}: nothing to try", hint="name a key and its values")
    for key, kind in space.items():
        for value in (kind.low, kind.high) if isinstance(kind, Range) else kind:
            with_override(recipe, {key: value})
    return space


def default_space(recipe: Recipe) -> Space:
    """Where nothing is named: the learning rate, a fifth to five times of what it is, and the label smoothing."""
    lr = recipe.optimizer.lr
    return {"optimizer.lr": Range(low=lr / 5, high=lr * 5, log=True), "training.label_smoothing": [0.0, 0.1]}


def suggest(space: Space, trial: Trial) -> dict[str, Any]:
    """The values of a trial, by key."""
    chosen: dict[str, Any] = {}
    for key, kind in space.items():
        if not isinstance(kind, Range):
            chosen[key] = trial.suggest_categorical(key, kind)
        elif kind.whole:
            step = int(kind.step) if kind.step else 1
            chosen[key] = trial.suggest_int(key, int(kind.low), int(kind.high), step=step, log=kind.log)
        else:
            chosen[key] = trial.suggest_float(key, kind.low, kind.high, step=kind.step, log=kind.log)
    return chosen


def with_override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with other values.

    Raises:
        ConfigError: A key is none of a recipe's, or a value will not do.
    """
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return load_recipe(recipe, [f"{key}={text}" for key, text in texts.items()])
