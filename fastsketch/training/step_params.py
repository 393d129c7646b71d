"""The random parameters of a training's steps, drawn for many steps at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from fastsketch.augment import SketchAugment
from fastsketch.augment.params import AugmentParams
from fastsketch.loaders.base import derived_seed

CHUNK = 16
"""Steps that are drawn for at once. Parameters are some 150 kernels on a few numbers a sample, whose launches are all
that they cost: drawn so, under ten a step are left."""


class StepParams:
    """What `SketchAugment.sample_params` gives each step of a training.

    A step's parameters follow from the seed and its number, wherever a training is taken up again: the seed of a chunk
    from the chunk's number, and a step has its rows of the chunk.

    Args:
        augment: Of the phase; the parameters are for its size.
        batch_size: Samples a step, of all processes together.
        seed: Of the training.
        device: Where `augment` is.
    """

    def __init__(self, augment: SketchAugment, batch_size: int, seed: int, device: torch.device) -> None:
        self._augment, self._batch_size, self._seed = augment, batch_size, seed
        self._generator = torch.Generator(device)
        self._drawn: tuple[int, AugmentParams] | None = None

    def of(self, step: int) -> AugmentParams:
        """The parameters of a whole batch; views, which launch nothing, but for the first step of a chunk."""
        chunk, place = divmod(step, CHUNK)
        if self._drawn is None or self._drawn[0] != chunk:
            self._generator.manual_seed(derived_seed(self._seed, ~chunk))
            self._drawn = chunk, self._augment.sample_params(CHUNK * self._batch_size, self._generator)
        rows = slice(place * self._batch_size, (place + 1) * self._batch_size)
        params: AugmentParams = tree_map_only(Tensor, lambda drawn: drawn[rows], self._drawn[1])
        return params
