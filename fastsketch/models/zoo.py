"""timm models for gray sketches: short names, local weights, and what the input is to look like."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import timm
import torch
from timm.layers import DropPath
from timm.models import load_state_dict
from torch import Tensor, nn

from fastsketch.config import ModelConfig
from fastsketch.errors import ConfigError, DataError, FastSketchError, one_line
from fastsketch.models.head import add_hidden_layers, classifier_names, zero_classifiers
from fastsketch.models.hub import fetching, quiet_libraries

SHORT_NAMES = {
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
}
"""Our names for models that timm calls differently. The report's other four, `resnet50`, `resnet101`,
`resnext50_32x4d` and `wide_resnet50_2`, are timm's own names already."""

SURE = 64
"""Pixels from which on convolutions take any image; of fewer, a filter may be larger than what is left of it."""


def create_model(config: ModelConfig, *, num_classes: int, size: int, train_sizes: Sequence[int] = ()) -> nn.Module:
    """A timm model: float32 [B, 1, size, size] → logits [B, num_classes].

    Pretrained weights are fitted to the task by timm: the stem's RGB filters are summed into one (exact where all
    three channels are equal and normalised alike), position embeddings are resampled to `size`, and the classifier
    starts anew, with `head_hidden` in front of it.

    Args:
        config: Name, weights, head and stochastic depth.
        num_classes: C.
        size: Side of the images that are validated and that the saved model is for.
        train_sizes: Other sides that it is trained at (`training.image_sizes`). Vision transformers then resample
            their position embeddings in every forward pass; their parameters are those of `size` throughout.

    Raises:
        ConfigError: timm knows no such model, it does not take images of these sizes, it has no stochastic depth, or
            the weights are another model's.
        DataError: The weights file is damaged or holds more than tensors.
        FastSketchError: Weights could not be fetched from the hub.
    """
    name = timm_name(config.name)
    arguments: dict[str, Any] = {"in_chans": 1, "num_classes": num_classes, "drop_rate": config.dropout}
    other_sizes = sorted({*train_sizes} - {size})
    if timm.get_pretrained_cfg(name).fixed_input_size:
        arguments["img_size"] = size
        if other_sizes:
            arguments["dynamic_img_size"] = True
    if config.drop_path:
        arguments["drop_path_rate"] = config.drop_path
    outline = _outline(name, arguments, size, other_sizes)
    model = _build(name, arguments, config, outline)
    if config.head_hidden:
        add_hidden_layers(model, config.head_hidden, config.dropout)
    if config.head_init == "zero":
        zero_classifiers(model)
    return model


def _build(name: str, arguments: dict[str, Any], config: ModelConfig, outline: nn.Module) -> nn.Module:
    """The model with its weights and timm's own head."""
    if config.weights is not None:
        tensors = read_weights(config.weights)
        _check_fit(tensors, outline, config.weights, name)
        arguments = {**arguments, "pretrained_cfg_overlay": {"state_dict": tensors}}
    fetched = config.pretrained and config.weights is None
    try:
        with quiet_libraries() as said, fetching(name) if fetched else nullcontext():
            model: nn.Module = timm.create_model(
                name, pretrained=config.weights is not None or config.pretrained, **arguments
            )
        for unused in (line for line in said if "Unable to convert" in line):  # a stem with random weights
            raise ValueError(unused)
    except (FastSketchError, MemoryError):
        raise
    except Exception as error:  # timm and the hub's client raise whatever their layers raise
        kind, origin = (FastSketchError, "the hub") if fetched else (ConfigError, str(config.weights))
        raise kind(f"weights of '{name}' cannot be loaded from {origin}: {_reason(error)}") from error
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


def layer_matcher(model: nn.Module, without: str) -> Callable[..., Any]:
    """timm's `group_matcher` of a model, which says how its layers follow each other.

    Args:
        model: Of timm.
        without: How the setting that asks for it is left unused, such as `optimizer.layer_decay at 1`.

    Raises:
        ConfigError: timm does not say.
    """
    matcher: Callable[..., Any] | None = getattr(model, "group_matcher", None)
    if matcher is None:
        raise ConfigError(
            "timm does not say how the layers of this model follow each other",
            hint=f"leave {without}, or choose another model",
        )
    return matcher


def to_device(model: nn.Module, device: torch.device, channels_last: bool = True) -> nn.Module:
    """Move a model to `device`, convolutions' weights in channels-last order (1.3 × faster for EfficientNet)."""
    return model.to(device).to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file; nothing else in it is ever unpickled.

    Raises:
        ConfigError: There is no such file.
        DataError: It is damaged, or not a file of tensors.
        OSError: It cannot be opened.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is no file of weights" if path.exists() else f"{path}: no such weights file")
    try:
        with quiet_libraries():
            tensors = load_state_dict(str(path), use_ema=True, device="cpu", weights_only=True)
        if not tensors or not all(isinstance(key, str) and _sound(each) for key, each in tensors.items()):
            raise ValueError("it holds something else")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # each layer of what is no such file fails in its own way: IndexError, struct.error, ...
        raise DataError(f"{path} is not a readable .safetensors or .pth file of tensors") from error
    return cast(dict[str, Tensor], tensors)


def _sound(value: object) -> bool:
    """Whether a value of a file is a plain tensor of real numbers."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_meta or value.is_quantized or value.is_complex())
        and not (value.is_floating_point() and bool(value.isnan().any()))
    )


def _outline(name: str, arguments: dict[str, Any], size: int, other_sizes: Sequence[int]) -> nn.Module:
    """The model without memory for its weights (on torch's meta device): what cannot be built or run shows at once.

    A tenth of a second for a ViT-B, where random weights take one.
    """
    try:
        with torch.device("meta"):
            model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except (TypeError, AssertionError, RuntimeError, ValueError) as error:
        if "drop_path_rate" in str(error):
            raise ConfigError(f"'{name}' has no stochastic depth", hint="leave model.drop_path at 0") from error
        if "dynamic_img_size" in str(error):
            raise ConfigError(
                f"'{name}' takes images of one size only", hint="leave training.image_sizes empty, or give one size"
            ) from error
        reason = f"{size} px images" if "img_size" in arguments else "one gray channel"
        raise ConfigError(f"'{name}' cannot be built for {reason}: {_reason(error)}") from error
    if "drop_path_rate" in arguments and not any(
        isinstance(module, DropPath) and module.drop_prob for module in model.modules()
    ):
        raise ConfigError(f"'{name}' has no stochastic depth", hint="leave model.drop_path at 0")
    model.eval()
    doubtful = size < SURE or "img_size" in arguments
    for other in {size, *other_sizes} if doubtful else other_sizes:
        try:
            model(torch.empty(1, 1, other, other, device="meta"))
        except (AssertionError, RuntimeError, ValueError) as error:
            if "meta tensor" in str(error):  # it looks at values, which are not there
                continue
            raise ConfigError(
                f"'{name}' does not take images of {other} px: {_reason(error)}",
                hint="choose other training.image_sizes, or convert with another --size",
            ) from error
    return model


def _reason(error: Exception) -> str:
    """What a library says went wrong, as the end of a line."""
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[-1].strip(), 200)


def _pretrained_config(model: nn.Module) -> dict[str, Any]:
    """timm's description of the model's weights: input size, mean and standard deviation, name of the classifier."""
    return cast(dict[str, Any], model.pretrained_cfg)


def _check_fit(tensors: dict[str, Tensor], model: nn.Module, path: Path, name: str) -> None:
    """timm loads what fits and only logs the rest; a file for another model must not pass as one for this."""
    heads = classifier_names(model)
    wanted = [key for key in model.state_dict() if not key.startswith(heads)]
    missing = [key for key in wanted if key not in tensors]
    if missing:
        raise ConfigError(
            f"{path} is not for '{name}': {len(missing)} of its {len(wanted)} tensors are missing",
            hint="name the model that the weights were made for with --model",
        )
