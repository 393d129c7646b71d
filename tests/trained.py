"""Runs as training leaves them, of random weights, and sketches of several kinds to ask them about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from fastsketch import ConvertConfig, convert_dataset, load_recipe, open_source
from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit
from fastsketch.models import create_model
from fastsketch.preprocess import Preprocess
from fastsketch.training.run.checkpoint import save_trained
from fastsketch.training.run.directory import Run
from fastsketch.training.tokens import apply_tokens

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox"]
SIZE, MODEL_SIZE = 48, 32
MODELS = {
    "cnn": {"name": "test_resnet"},
    "vit": {"name": "test_vit"},
    "ink tokens": {"name": "test_vit", "tokens": 3},
    "larger head": {"name": "test_resnet", "head_hidden": [16]},
}


def picture(seed: int) -> Image.Image:
    """A drawing of another size, shape and mode each time: gray, colour, transparent."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(20, 200, 2).tolist()
    image = Image.new("L", (width, height), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        pen.line([tuple(point) for point in (rng.random((4, 2)) * (width, height)).tolist()], fill=0, width=3)
    if seed % 3 == 1:
        return Image.merge("RGB", [image, image.point(lambda value: value // 2 + 100), image])
    if seed % 3 == 2:
        return Image.merge("LA", [Image.new("L", image.size, 0), image.point(lambda value: 255 - value)]).convert(
            "RGBA"
        )
    return image


def write_sketches(root: Path, count: int = 60) -> Path:
    """Files of several kinds; those of `fox` lie on their side, as EXIF says."""
    for number in range(count):
        name = CLASSES[number % len(CLASSES)]
        (root / name).mkdir(parents=True, exist_ok=True)
        image = picture(number)
        if name == "fox":
            exif = Image.Exif()
            exif[0x0112] = 6
            image.convert("RGB").save(root / name / f"{number}.jpg", exif=exif)
        else:
            image.save(root / name / f"{number}.png")
    return root


def convert_sketches(root: Path, folder: Path, size: int = SIZE) -> DatasetMetadata:
    return convert_dataset(
        open_source(root), folder, ConvertConfig(size=size, split="0.6/0.4/0", resize="box", workers=1)
    )


def make_run(root: Path, data: DatasetMetadata, folder: Path, *, flip: bool = False, **model: Any) -> Run:
    """A run as training leaves it, of random weights; its model is smaller than the data set's images."""
    run = Run(root)
    preprocess = Preprocess(MODEL_SIZE, 0.4, 0.3)
    recipe = load_recipe(
        None,
        data__path=folder,
        evaluation__flip=flip,
        training__image_sizes=[MODEL_SIZE],
        **{f"model__{key}": value for key, value in model.items()},
    )
    torch.manual_seed(0)
    made = create_model(recipe.model.without_weights(), num_classes=len(CLASSES), size=MODEL_SIZE)
    made = apply_tokens(recipe.model, made, preprocess)
    tell_apart(made, preprocess(torch.tensor(PackSplit(folder, data, "val").images)))
    for checkpoint in (run.best, run.last):
        checkpoint.mkdir(parents=True)
        save_trained(made, checkpoint, preprocess, data)
    data.save(run.root)
    recipe.save(run.config)
    return run


@torch.no_grad()
def tell_apart(model: nn.Module, images: Tensor) -> None:
    """Stretch the last layer, so that the classes of these images differ as those of a trained model do."""
    logits = model.eval()(images)
    layer = [each for each in model.modules() if isinstance(each, nn.Linear)][-1]
    scale = 2 / logits.std(dim=0)
    layer.weight *= scale[:, None]
    layer.bias.copy_((layer.bias - logits.mean(dim=0)) * scale)
