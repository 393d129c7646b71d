"""An exported file beside the model that it was made of, on real sketches."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import torch
from torch import Tensor

from fastsketch.inference.description import Parity

BATCHES = (1, 2, 64)
"""One is how a server asks, two is what the graph was traced with."""

TIMES = 5
"""A batch is timed so often, after once that does not count."""

Ask = Callable[[Tensor], Tensor]
"""uint8 [B, 1, S, S] → probabilities, float32 [B, C]."""


@torch.inference_mode()
def compare(model: Ask, exported: Ask, images: Tensor) -> Parity:
    """Show the same images to both, in batches of each size.

    Args:
        model: What was exported.
        exported: The file, opened again.
        images: uint8 [N, 1, S, S].
    """
    expected = torch.cat([model(batch) for batch in torch.split(images, max(BATCHES))])
    differences, same = [], 1.0
    milliseconds = {}
    for size in BATCHES:
        found = torch.cat([exported(batch) for batch in torch.split(images, size)])
        differences.append((found - expected).abs().max())
        same = min(same, float((found.argmax(dim=1) == expected.argmax(dim=1)).double().mean()))
        milliseconds[str(size)] = (_milliseconds(exported, images[:size]), _milliseconds(model, images[:size]))
    largest = float(torch.stack(differences).max())  # torch's, unlike Python's, is NaN if one of them is
    return Parity(sketches=len(images), largest_difference=largest, same_top1=same, milliseconds=milliseconds)


def _milliseconds(ask: Ask, batch: Tensor) -> float:
    times = []
    for _ in range(TIMES + 1):
        began = perf_counter()
        ask(batch)
        times.append(perf_counter() - began)
    return round(1000 * statistics.median(times[1:]), 3)
