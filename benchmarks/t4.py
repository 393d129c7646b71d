"""What does a training step become on a Tesla T4? Computed, not measured.

    fastsketch bench t4

Inductor lowers the product's own augmentation and training step in float16 for a T4 that is only pretended
(`pretended`), and nothing runs. So it is known which kernels there would be, what each reads and writes (every buffer
once), what matrix products and convolutions compute, and how much memory is alive at once. Two figures follow for each
device. *Roofline* (Williams et al., 2009): the seconds in which each launch either moves its bytes or does its
arithmetic, whichever takes longer, at what we take the device to sustain. *Arithmetic alone*: without the bytes. Both
leave out what a launch costs (some microseconds each, unless CUDA graphs replay them) and that kernels reach neither
ceiling.

Then every Triton kernel, and those of the augmentation of every recipe, is compiled by the bundled ptxas for a T4, an
A100 and an H100; what does not compile, spills registers, computes in float64, or multiplies matrices in Triton, which
has no tensor cores on a T4, is named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from fastsketch import atomic
from fastsketch.config import ModelConfig
from fastsketch.environment import environment
from fastsketch.models import create_model
from fastsketch.recipes import load_recipe, recipe_names
from fastsketch.training.step_params import CHUNK

from .cubins import CAPABILITIES, Cubin, compile_kernels
from .lowered import Launch, Lowered
from .lowered_step import CLASSES, SIZE, lower_augmentation, lower_passes, operations_of_params

RECIPE = "report-5-vit-base"
CASES: tuple[tuple[str, int | None], ...] = (
    ("vit_small", None),
    ("vit_small", 95),
    ("vit_base", None),
    ("vit_base", 95),
    ("resnet50", None),
    ("resnet101", None),
    ("resnext50_32x4d", None),
    ("wide_resnet50_2", None),
)
"""The report's six models, and its transformers with as many ink tokens as `auto` keeps of TU-Berlin's sketches."""

BATCHES = (32, 64)

UPDATE_BYTES = 28
"""Read and written for each parameter by SGD with momentum, fused: weight, gradient and momentum are read, weight and
momentum written; and once before all gradients are searched for infinities, which reads and writes them."""

STATIC_BYTES = 8
"""Of each parameter that stay in memory: the weight and its momentum, in float32."""


class Device(NamedTuple):
    """What a device sustains.

    Attributes:
        name: Its name.
        flops: float16 operations a second.
        bandwidth: Bytes a second.
        memory: Bytes.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float


T4 = Device("T4", 24e12, 320e9, 16e9)
"""65e12 stand in the data sheet, 24e12 are sustained at 70 W."""

H200 = Device("H200", 989e12, 4.8e12, 141e9)
"""From the data sheet, dense."""


@dataclass(frozen=True, slots=True)
class Step:
    """One model's training step with one batch size.

    Attributes:
        model: Our name.
        tokens: Patches kept; None for all, and for CNNs.
        batch: Images.
        parameters: All of them.
        kernels: Different Triton kernels, augmentation included.
        launches: Of those.
        library_calls: Of cuBLAS, cuDNN and ATen.
        bytes: Moved by the whole step, optimizer included.
        flops: Of its matrix products and convolutions.
        peak_bytes: Most memory at once: weights, momentum, gradients, what the backward pass needs.
        augment_share: Of the T4's roofline seconds.
        seconds: By device: the roofline.
        arithmetic_seconds: By device: arithmetic alone.
        fits: Whether `peak_bytes` are within a T4's memory, less a tenth for the context and fragments.
    """

    model: str
    tokens: int | None
    batch: int
    parameters: int
    kernels: int
    launches: int
    library_calls: int
    bytes: int
    flops: int
    peak_bytes: int
    augment_share: float
    seconds: dict[str, float]
    arithmetic_seconds: dict[str, float]
    fits: bool


def run(out: Path, *, quick: bool = False) -> Path:
    """Compute the table, print it, write JSON into `out`; return the JSON.

    Args:
        out: Folder for the results.
        quick: A tiny model, for a T4 alone.
    """
    logging.getLogger("torch._inductor").setLevel(logging.ERROR)
    cases, batches = ((("test_vit", None),), (4,)) if quick else (CASES, BATCHES)
    capabilities = CAPABILITIES[:1] if quick else CAPABILITIES
    console = Console(highlight=False)
    recipe = load_recipe(RECIPE)
    steps, sources, failed = [], [], {}
    augmentations = {batch: lower_augmentation(recipe, SIZE, batch) for batch in batches}
    for model, tokens in cases:
        for batch in batches:
            try:
                passes = lower_passes(recipe, model, tokens, batch)
            except Exception as error:  # what cannot be lowered is named, and the rest goes on
                failed[f"{model}, {tokens or 'all'} tokens, batch {batch}"] = f"{type(error).__name__}: {error}"
                continue
            steps.append(summary(model, tokens, batch, augmentations[batch], passes))
            sources += [source for each in (*passes, augmentations[batch]) for source in each.sources.values()]
            console.print(_line(steps[-1]))
    recipes = {name: lower_augmentation(load_recipe(name), SIZE, batches[0]) for name in recipe_names()}
    sources += [source for each in recipes.values() for source in each.sources.values()]
    cubins = compile_kernels(sources, capabilities)
    console.print(
        f"\na training step at {SIZE} px in float16: computed, not measured\n\n{table(steps)}", soft_wrap=True
    )
    for line in (*(f"not lowered: {name}: {why}" for name, why in failed.items()), *remarks(cubins)):
        console.print(line, soft_wrap=True)
    record = {
        "benchmark": "t4",
        "computed": "lowered for a pretended device, not measured",
        "environment": environment(),
        "settings": {"recipe": RECIPE, "size": SIZE, "classes": CLASSES, "precision": "float16", "quick": quick},
        "devices": [device._asdict() for device in (T4, H200)],
        "steps": [asdict(step) for step in steps],
        "not_lowered": failed,
        "augmentation": {
            name: {**_augmentation(each, batches[0]), "params_a_step": operations_of_params(load_recipe(name)) / CHUNK}
            for name, each in recipes.items()
        },
        "kernels": {capability: kernel_counts(cubins, capability) for capability in capabilities},
        "remarkable_kernels": [cubin._asdict() for cubin in cubins if remark(cubin)],
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / ("t4-quick.json" if quick else "t4.json")
    atomic.write_json(path, record)
    return path


# -------------------------------------------------------------------------------------------------------- figures


def summary(model: str, tokens: int | None, batch: int, augmentation: Lowered, passes: Sequence[Lowered]) -> Step:
    """What the parts come to."""
    with torch.device("meta"):
        outline = create_model(ModelConfig(name=model), num_classes=CLASSES, size=SIZE)
    parameters = sum(parameter.numel() for parameter in outline.parameters())
    update = Launch("optimizer", True, UPDATE_BYTES * parameters, 0)
    whole = [*augmentation.launches, *(launch for each in passes for launch in each.launches), update]
    seconds = {device.name: roofline(whole, device) for device in (T4, H200)}
    flops = sum(launch.flops for launch in whole)
    peak = max(each.peak_bytes for each in (augmentation, *passes)) + STATIC_BYTES * parameters
    return Step(
        model=model,
        tokens=tokens,
        batch=batch,
        parameters=parameters,
        kernels=len({source for each in (augmentation, *passes) for source in each.sources}),
        launches=sum(not launch.library for launch in whole),
        library_calls=sum(launch.library for launch in whole),
        bytes=sum(launch.bytes for launch in whole),
        flops=flops,
        peak_bytes=peak,
        augment_share=roofline(augmentation.launches, T4) / seconds["T4"],
        seconds=seconds,
        arithmetic_seconds={device.name: flops / device.flops for device in (T4, H200)},
        fits=peak < 0.9 * T4.memory,
    )


def roofline(launches: Iterable[Launch], device: Device) -> float:
    """Seconds of launches one after the other, each bound by what takes it longer."""
    return sum(max(launch.bytes / device.bandwidth, launch.flops / device.flops) for launch in launches)


def _augmentation(lowered: Lowered, batch: int) -> dict[str, float]:
    return {
        "kernels": len(lowered.sources),
        "launches": len(lowered.launches),
        "megabytes_an_image": sum(launch.bytes for launch in lowered.launches) / batch / 1e6,
    }


# --------------------------------------------------------------------------------------------------------- output


def _line(step: Step) -> str:
    tokens = "all patches" if step.tokens is None else f"{step.tokens} patches"
    return f"{step.model}, {tokens}, batch {step.batch}: {step.batch / step.seconds['T4']:,.0f} images/s at most"


COLUMNS: dict[str, Callable[[Step], str]] = {
    "model": lambda step: f"`{step.model}`",
    "tokens": lambda step: str(step.tokens or "all"),
    "batch": lambda step: str(step.batch),
    "kernels": lambda step: str(step.kernels),
    "launches": lambda step: str(step.launches),
    "library calls": lambda step: str(step.library_calls),
    "MB an image": lambda step: f"{step.bytes / step.batch / 1e6:,.0f}",
    "GFLOP an image": lambda step: f"{step.flops / step.batch / 1e9:.1f}",
    "augmentation": lambda step: f"{step.augment_share:.2%}",
    "T4, images/s": lambda step: f"{step.batch / step.seconds['T4']:,.0f}",
    "by arithmetic alone": lambda step: f"{step.batch / step.arithmetic_seconds['T4']:,.0f}",
    "H200, images/s": lambda step: f"{step.batch / step.seconds['H200']:,.0f}",
    "peak GB": lambda step: f"{step.peak_bytes / 1e9:.1f}" + ("" if step.fits else ", too much for a T4"),
}


def table(steps: Sequence[Step]) -> str:
    """All steps, as Markdown."""
    rows = [list(COLUMNS), ["---"] * len(COLUMNS), *([column(step) for column in COLUMNS.values()] for step in steps)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def kernel_counts(cubins: Sequence[Cubin], capability: int) -> dict[str, int]:
    """How many kernels there are for a device, how many compile, and the bytes of the largest."""
    those = [cubin for cubin in cubins if cubin.capability == capability]
    return {
        "kernels": len(those),
        "compile": sum(cubin.error is None for cubin in those),
        "largest_bytes": max(cubin.bytes for cubin in those),
    }


def remark(cubin: Cubin) -> str | None:
    """What is to be known about a kernel, if there is anything."""
    if cubin.error:
        return f"does not compile: {cubin.error}"
    dear = (
        (cubin.spilled, f"spills {cubin.spilled} bytes a thread"),
        (cubin.float64, "computes in float64"),
        (cubin.product, "multiplies matrices in Triton"),
    )
    return ", ".join(words for found, words in dear if found) or None


def remarks(cubins: Sequence[Cubin]) -> Iterator[str]:
    """How many kernels compile for each device, and what is to be known about some."""
    for capability in dict.fromkeys(cubin.capability for cubin in cubins):
        counts = kernel_counts(cubins, capability)
        yield f"sm_{capability}: {counts['compile']} of {counts['kernels']} kernels compile"
        those = (cubin for cubin in cubins if cubin.capability == capability)
        yield from dict.fromkeys(f"  {cubin.kernel} {words}" for cubin in those if (words := remark(cubin)))
