"""Saving and loading: models as plain timm opens them, and what a resumed run needs."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import save_for_hf
from torch import nn

from fastsketch import atomic
from fastsketch.errors import DataError
from fastsketch.models.head import add_hidden_layers, hidden_sizes
from fastsketch.models.ink_tokens import keep_inked, kept_in_evaluation

log = logging.getLogger(__name__)

RESUME_VERSION = 1
"""Raised whenever an older `resume.pt` could not be continued."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model's input is: size × size pixels, gray values in [0, 1] (paper = 1), less `mean`, over `std`."""

    size: int
    mean: float
    std: float


def save_model(model: nn.Module, folder: Path, spec: InputSpec, class_names: list[str]) -> None:
    """Write `model.safetensors` and timm's `config.json` (with label names and preprocessing) into `folder`.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` opens it; of a model with hidden layers in its head,
    which `load_model` opens, plain timm can open the backbone alone, with `num_classes=0`. A transformer with ink
    tokens sees all patches in plain timm; as many as in its evaluation, if `load_model` opens it. Each file is replaced
    atomically; that they are two does not matter, because a run writes the same configuration every time.
    """
    # safetensors takes no channels-last tensors, and timm saves a model's own: give it a copy.
    model = copy.deepcopy(model).to("cpu").to(memory_format=torch.contiguous_format)
    ours = {"head_hidden": hidden_sizes(model), "eval_tokens": kept_in_evaluation(model)}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        save_for_hf(
            model,
            temporary,
            model_config={"label_names": class_names, **{key: value for key, value in ours.items() if value}},
            data_config={
                "input_size": (1, spec.size, spec.size),
                "mean": (spec.mean,),
                "std": (spec.std,),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
            },
            safe_serialization=True,
        )
        for name in ("config.json", "model.safetensors"):
            atomic.sync(Path(temporary, name))
            os.replace(Path(temporary, name), folder / name)
    atomic.sync(folder)


def load_model(folder: Path) -> tuple[nn.Module, InputSpec]:
    """Open what `save_model` wrote; in evaluation it sees as many patches as it did then.

    Raises:
        ConfigError: The saved number of patches does not fit the model.
        DataError: A file is missing or damaged.
    """
    try:
        saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = saved["pretrained_cfg"]
        spec = InputSpec(size=config["input_size"][-1], mean=config["mean"][0], std=config["std"][0])
        model = timm.create_model(f"local-dir:{folder}")
        if saved.get("head_hidden"):
            add_hidden_layers(model, saved["head_hidden"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
        keep_inked(model, None, eval_tokens=saved.get("eval_tokens"), mean=spec.mean, std=spec.std)
        return model, spec
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder} holds no usable model: {str(error).splitlines()[0]}") from error


def save_resume(path: Path, state: dict[str, Any]) -> None:
    """Write what the next step needs, atomically; what was there before is kept as `previous_resume(path)`."""
    with atomic.replacing(path) as temporary:
        torch.save({"format_version": RESUME_VERSION, **state}, temporary)
        if path.is_file():
            os.replace(path, previous_resume(path))


def previous_resume(path: Path) -> Path:
    """Where `save_resume` keeps the state before the last."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_resume(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Read what `save_resume` wrote last, or, where that is damaged, before; None if a run had saved nothing yet.

    Only tensors and plain values are ever unpickled.

    Raises:
        DataError: There is nothing that can be read, or it was written by a newer fastsketch.
    """
    paths = [each for each in (path, previous_resume(path)) if each.is_file()]
    damage: Exception | None = None
    for each in paths:
        try:
            state: dict[str, Any] = torch.load(each, map_location=device, weights_only=True)
            version = state.pop("format_version")
        except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
            damage = error
            log.warning("%s is damaged (%s)", each, (str(error) or type(error).__name__).splitlines()[0])
            continue
        if version != RESUME_VERSION:
            raise DataError(
                f"{each} has version {version}, this fastsketch reads version {RESUME_VERSION}",
                hint="continue the run with the fastsketch that wrote it",
            )
        return state
    if damage is None:
        return None
    raise DataError(
        f"{path} cannot be read, nor what was saved before it",
        hint=f"the weights in {path.parent / 'last'} are those of the last whole epoch: train from them with --weights",
    ) from damage
