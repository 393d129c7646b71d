"""How a step runs on this device: what the recipe says, and where it says `auto`, what `autotune` found best."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
import torch
from pydantic import Field, TypeAdapter, ValidationError

from fastsketch import atomic
from fastsketch.config import Recipe
from fastsketch.training.execution.precision import resolve_precision
from fastsketch.training.run.saving import saving

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """One way to run a step; the keys are those of `training`."""

    compile: Literal["eager", "default", "reduce-overhead", "cudagraphs"]
    channels_last: Annotated[bool, Field(strict=True)]
    micro_batch: Annotated[int, Field(strict=True, ge=1)]

    def __str__(self) -> str:
        order = "channels last" if self.channels_last else "channels first"
        return f"compile {self.compile}, {order}, micro-batches of {self.micro_batch}"


def resolve_execution(recipe: Recipe, size: int, device: torch.device) -> ExecutionConfig:
    """A recipe's own settings; where it says `auto`, what was found best on this device, or else what is sensible."""
    config, batch_size = recipe.training, recipe.data.batch_size
    found = ExecutionConfig("default" if device.type == "cuda" else "eager", True, batch_size)
    if "auto" in (config.compile, config.channels_last) or config.micro_batch is None:
        values = _remembered().get(_key(recipe, size, device))
        if values is not None:
            try:
                found = TypeAdapter(ExecutionConfig).validate_python(values)
            except ValidationError:
                log.warning("%s is damaged: `fastsketch tune` makes it anew", _cache())
            else:
                log.info("tuned for this device: %s", found)
    return _settled(recipe, found)


def continued_execution(
    recipe: Recipe, began: Mapping[str, object] | None, device: torch.device
) -> ExecutionConfig | None:
    """How a run goes on that began on a CPU, as `device` is: what was found best since would give other bits.

    Args:
        recipe: Whose own settings come first here, too.
        began: How the run began, by the names of `ExecutionConfig`; None if that is not known.
        device: Where it goes on.

    Returns:
        None where it is resolved anew.
    """
    if began is None or device.type != "cpu":
        return None
    try:
        return _settled(recipe, TypeAdapter(ExecutionConfig).validate_python(began))
    except ValidationError:
        return None


def _settled(recipe: Recipe, found: ExecutionConfig) -> ExecutionConfig:
    """A recipe's own settings, and what was found where it says `auto`."""
    config = recipe.training
    return ExecutionConfig(
        found.compile if config.compile == "auto" else config.compile,
        found.channels_last if config.channels_last == "auto" else config.channels_last,
        config.micro_batch or found.micro_batch,
    )


def remember_execution(execution: ExecutionConfig, recipe: Recipe, size: int, device: torch.device) -> None:
    """Keep what was found best in the user's cache folder.

    Raises:
        FastSketchError: It cannot be written.
    """
    with saving(_cache()):
        atomic.write_json(_cache(), {**_remembered(), _key(recipe, size, device): asdict(execution)})


def _key(recipe: Recipe, size: int, device: torch.device) -> str:
    """What a way to run was found for."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {torch.get_num_threads()}"
    precision = str(resolve_precision(recipe.training.precision, device)).removeprefix("torch.")
    tokens = f"tokens {recipe.model.tokens}{' and paper' * recipe.model.paper_token}"
    model = f"{recipe.model.name}, {size} px, {tokens}, batch {recipe.data.batch_size}"
    return f"{name}; torch {torch.__version__}; {model}; {precision}"


def _cache() -> Path:
    return platformdirs.user_cache_path("fastsketch", ensure_exists=True) / "tuned.json"


def _remembered() -> dict[str, Any]:
    """What is in the cache; a damaged one is as good as none."""
    try:
        found = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
