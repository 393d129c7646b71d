"""Models as plain timm opens them."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn
from xxhash import xxh3_128

from fastsketch import atomic
from fastsketch.conversion.reading import Reading
from fastsketch.errors import FastSketchError
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.models.head import add_hidden_layers, hidden_sizes
from fastsketch.models.ink_tokens import has_paper_token, keep_inked, kept_in_evaluation
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.model_files import CHECKSUM, CONFIG, WEIGHTS, SavedConfig, unusable
from fastsketch.training.run.saving import saving


def save_model(
    model: nn.Module, folder: Path, preprocess: Preprocess, class_names: list[str], reading: Reading | None = None
) -> None:
    """Write `model.safetensors` and timm's `config.json` (with label names and preprocessing) into `folder`.

    `timm.create_model("local-dir:FOLDER", pretrained=True)` opens it; of a model with hidden layers in its head,
    which `load_model` opens, plain timm can open the backbone alone, with `num_classes=0`. A transformer with ink
    tokens sees all patches in plain timm; as many as in its evaluation, if `load_model` opens it. Each file is replaced
    atomically; that they are two does not matter, because a run writes the same configuration every time.

    Args:
        model: Of `create_model`.
        folder: Made if it is missing.
        preprocess: What the model is shown.
        class_names: In label order.
        reading: How originals became what `preprocess` takes.

    Raises:
        FastSketchError: It cannot be written.
    """
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    ours = {
        "head_hidden": hidden_sizes(model),
        "eval_tokens": kept_in_evaluation(model),
        "paper_token": has_paper_token(model),
        "reading": reading and reading._asdict(),
    }
    config, weights = folder / CONFIG, folder / WEIGHTS
    with saving(config), atomic.replacing(config) as temporary:
        save_config_for_hf(
            model,
            str(temporary),
            model_config={"label_names": class_names, **{key: value for key, value in ours.items() if value}},
            data_config={
                "input_size": (1, preprocess.size, preprocess.size),
                "mean": (preprocess.mean,),
                "std": (preprocess.std,),
                "interpolation": "bilinear",
                "crop_pct": 1.0,
            },
        )
    # safetensors takes no channels-last tensors
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # `save_file` has a temporary file of its own, which a kill would leave.
    content = save(tensors, {CHECKSUM: _checksum(tensors)})
    with saving(weights):
        atomic.write_bytes(weights, content)


def save_trained(model: nn.Module, folder: Path, preprocess: Preprocess, dataset: DatasetMetadata) -> None:
    """`save_model`, of a model that was trained on a data set."""
    save_model(model, folder, preprocess, dataset.classes, Reading.of(dataset))


def load_model(folder: Path) -> tuple[nn.Module, Preprocess]:
    """Open what `save_model` wrote; in evaluation it sees as many patches as it did then.

    Raises:
        ConfigError: The saved number of patches does not fit the model.
        DataError: A file is missing or damaged.
    """
    try:
        saved = SavedConfig.read(folder)
        [mean], [std] = saved.pretrained_cfg.mean, saved.pretrained_cfg.std
        model = timm.create_model(f"local-dir:{folder}")
        if saved.head_hidden:
            add_hidden_layers(model, saved.head_hidden)
        _load_weights(model, folder / WEIGHTS)
        preprocess = Preprocess(saved.size, mean, std)
        keep_inked(model, None, preprocess, eval_tokens=saved.eval_tokens, paper_token=saved.paper_token)
        return model, preprocess
    except FastSketchError:
        raise
    except Exception as error:  # timm raises whatever its layers raise
        raise unusable(folder, _reason(error)) from error


def _load_weights(model: nn.Module, path: Path) -> None:
    """Weights of exactly the model's names, shapes and types: torch would convert the last silently."""
    tensors, wanted = load_file(path), model.state_dict()
    with safe_open(path, "pt") as file:
        checksum = (file.metadata() or {}).get(CHECKSUM)
    if checksum not in (None, _checksum(tensors)):
        raise ValueError(f"{path.name} is not as it was written: its checksum differs")
    other = [name for name, tensor in tensors.items() if name in wanted and tensor.dtype != wanted[name].dtype]
    if other:
        raise ValueError(f"{other[0]} is {tensors[other[0]].dtype}, not {wanted[other[0]].dtype}")
    model.load_state_dict(tensors)


def _checksum(tensors: dict[str, Tensor]) -> str:
    """XXH3-128 of contiguous tensors on the CPU: names, types, shapes and bytes."""
    digest = xxh3_128()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(error.filename).name}: {error.strerror}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines[:2]) if lines[0].endswith(":") else lines[0]
