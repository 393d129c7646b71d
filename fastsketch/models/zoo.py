"""timm models for gray sketches: short names, local weights, and what the input is to look like."""

from __future__ import annotations

import difflib
import pickle
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor, nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError, DataError, FastSketchError

SHORT_NAMES = {
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
}
"""Our names for models that timm calls differently. The report's other four, `resnet50`, `resnet101`,
`resnext50_32x4d` and `wide_resnet50_2`, are timm's own names already."""


def create_model(config: ModelConfig, *, num_classes: int, size: int) -> nn.Module:
    """A timm model: float32 [B, 1, size, size] → logits [B, num_classes].

    Pretrained weights are fitted to the task by timm: the stem's RGB filters are summed into one (exact where all
    three channels are equal and normalised alike), position embeddings are resampled to `size`, and the classifier
    starts anew.

    Raises:
        ConfigError: timm knows no such model, it does not take images of this size, or the weights are another model's.
        DataError: The weights file is damaged or holds more than tensors.
        FastSketchError: Weights could not be fetched from the hub.
    """
    name = timm_name(config.name)
    arguments: dict[str, Any] = {"in_chans": 1, "num_classes": num_classes, "drop_rate": config.dropout}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        arguments["img_size"] = size
    if config.weights is None and not config.pretrained:
        return _build(name, arguments)
    if config.weights is not None:
        tensors = read_weights(config.weights)
        _check_fit(tensors, _build(name, arguments), config.weights, name)
        arguments["pretrained_cfg_overlay"] = {"state_dict": tensors}
        origin = str(config.weights)
    else:
        origin = "the hub"
    try:
        model: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # timm and the hub's client raise whatever their layers raise
        reason = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
        kind = ConfigError if config.weights is not None else FastSketchError
        raise kind(f"weights of '{name}' cannot be loaded from {origin}: {reason}") from error
    return model


def timm_name(name: str) -> str:
    """The name by which timm knows a model, tag included.

    Raises:
        ConfigError: It knows none; the nearest names are offered.
    """
    name = SHORT_NAMES.get(name, name)
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture) or ":" in name:
        near = difflib.get_close_matches(architecture, [*SHORT_NAMES, *timm.list_models()], n=3)
        raise ConfigError(
            f"no model '{name}'" + (f"; did you mean {' or '.join(near)}?" if near else ""),
            hint="any name of timm.list_models() will do",
        )
    return name


def pretrained_normalization(model: nn.Module) -> tuple[float, float]:
    """Mean and standard deviation for gray values in [0, 1], from timm's configuration of the weights.

    The three channels' values are averaged: a gray image has one channel, and ImageNet's differ by under 0.08.
    """
    config = _pretrained_config(model)
    mean, std = config["mean"], config["std"]
    return sum(mean) / len(mean), sum(std) / len(std)


def place(model: nn.Module, device: torch.device, channels_last: bool = True) -> nn.Module:
    """Move a model to `device`, convolutions' weights in channels-last order (1.3 × faster for EfficientNet)."""
    return model.to(device).to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file; nothing else in it is ever unpickled.

    Raises:
        ConfigError: There is no such file.
        DataError: It is damaged, or not a file of tensors.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such weights file")
    try:
        tensors: dict[str, Tensor] = load_state_dict(str(path), use_ema=True, device="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, ValueError, EOFError, KeyError) as error:
        raise DataError(f"{path} is not a readable .safetensors or .pth file of tensors") from error
    return tensors


def _build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """The model with random weights."""
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        size = arguments.get("img_size")
        reason = f"{size} px images" if size else "one gray channel"
        raise ConfigError(f"'{name}' cannot be built for {reason}: {error or type(error).__name__}") from error
    return model


def _pretrained_config(model: nn.Module) -> dict[str, Any]:
    """timm's description of the model's weights: input size, mean and standard deviation, name of the classifier."""
    return cast(dict[str, Any], model.pretrained_cfg)


def _check_fit(tensors: dict[str, Tensor], model: nn.Module, path: Path, name: str) -> None:
    """timm loads what fits and only logs the rest; a file for another model must not pass as one for this."""
    classifier = _pretrained_config(model).get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    wanted = [key for key in model.state_dict() if not key.startswith(heads)]
    missing = [key for key in wanted if key not in tensors]
    if missing:
        raise ConfigError(
            f"{path} is not for '{name}': {len(missing)} of its {len(wanted)} tensors are missing",
            hint="name the model that the weights were made for with --model",
        )
