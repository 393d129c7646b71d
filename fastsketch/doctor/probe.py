"""Five seconds of what fastsketch spends its time with, on the device that training would take."""

from __future__ import annotations

import io
from collections.abc import Callable
from time import perf_counter

import torch
from PIL import Image, ImageDraw

from fastsketch.augment import create_augment
from fastsketch.conversion.decode import Reading, decode_content
from fastsketch.device import resolve_device
from fastsketch.preprocess import Preprocess
from fastsketch.recipes import load_recipe
from fastsketch.training.execution.precision import resolve_precision

SECONDS = 1.5
"""Each of the three, after one that does not count."""

BATCH, SIZE, SIDE, WIDTH = 64, 224, 1111, 2048


def speeds() -> dict[str, float]:
    """Decoded originals a second and core, augmented images a second, and matrix products in TFLOP/s."""
    device = resolve_device("auto")
    return {
        "decoded originals of 1111 px a second, one process": _rate(_decoding(), 1, device),
        "augmented images of 224 px a second": _rate(_augmentation(device), BATCH, device),
        "matrix products, TFLOP/s": _rate(_products(device), 2 * WIDTH**3 / 1e12, device),
    }


def _rate(work: Callable[[], object], amount: float, device: torch.device) -> float:
    def synchronised() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    synchronised()
    began, times = perf_counter(), 0
    while (passed := perf_counter() - began) < SECONDS:
        synchronised()
        times += 1
    return float(f"{times * amount / passed:.3g}")


def _decoding() -> Callable[[], object]:
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    for corner in range(50, 500, 30):
        pen.ellipse((corner, corner, SIDE - corner, SIDE - 2 * corner % 400), outline=0, width=3)
    file = io.BytesIO()
    image.save(file, "png")
    return lambda: decode_content(file.getvalue(), Reading(SIZE))[0]


def _augmentation(device: torch.device) -> Callable[[], object]:
    augment = create_augment(load_recipe("report-4-thickness").augment, Preprocess(SIZE)).to(device)
    images = torch.full((BATCH, 1, SIZE, SIZE), 255, dtype=torch.uint8, device=device)
    images[..., 100:104, 20:-20] = 0
    labels = torch.arange(BATCH, device=device)
    generator = torch.Generator(device).manual_seed(0)
    return lambda: augment(images, labels, augment.sample_params(BATCH, generator))


def _products(device: torch.device) -> Callable[[], object]:
    precision = resolve_precision("auto", device)
    one = torch.rand(WIDTH, WIDTH, device=device, dtype=precision)
    return lambda: one @ one
