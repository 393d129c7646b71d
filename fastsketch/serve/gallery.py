"""The training sketches that are nearest to a drawing, by the model's own features."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsketch.formats.metadata import DatasetMetadata
from fastsketch.formats.pack import PackSplit, spread
from fastsketch.inference.classifier import Member
from fastsketch.serve.schema import Neighbour
from fastsketch.serve.sight import png_url
from fastsketch.training.execution.precision import autocast

PER_CLASS = 48
"""Sketches of a class that are compared with a drawing, spread evenly: all that TU-Berlin trains on."""

CHUNK = 8
"""Sketches that are looked at in one go: a question that comes meanwhile waits so long."""

Result = TypeVar("Result")
Do = Callable[[Callable[[], Result]], Awaitable[Result]]
"""What computes in the model's thread; see `Batcher.do`."""


class Gallery:
    """Features of training sketches, computed class by class when they are first asked for.

    Args:
        member: The model.
        folder: Its data set.
        dataset: Likewise; of the model's classes, and read as the model reads.

    Raises:
        DataError: It is damaged.
    """

    def __init__(self, member: Member, folder: Path, dataset: DatasetMetadata) -> None:
        self._member = member
        self._split, self._names = PackSplit(folder, dataset, "train"), dataset.classes
        self._device = next(member.model.parameters()).device
        self._rows = [self._chosen(label) for label in range(len(self._names))]
        shown = {row for rows in self._rows for row in rows.tolist()}
        self._ids = {row: id for row, id in enumerate(self._split.ids()) if row in shown}
        self._known: dict[int, Tensor] = {}
        self._learning = asyncio.Lock()

    async def nearest(
        self, image: npt.NDArray[np.uint8], labels: Sequence[int], each: int, do: Do[Any]
    ) -> list[Neighbour]:
        """The nearest of each class.

        Args:
            image: uint8 [S, S].
            labels: Classes.
            each: So many of a class.
            do: What computes.

        Returns:
            At most `each` of every class, in the order of `labels`.

        Raises:
            Busy: Too much waits to be computed.
        """
        wanted = await do(partial(self._features, image[None]))
        found: list[tuple[float, int]] = []
        for label in labels:
            if len(rows := self._rows[label]):
                nearest = (await self._class(label, do) @ wanted[0]).topk(min(each, len(rows)))
                found += zip(nearest.values.tolist(), rows[nearest.indices.numpy()].tolist(), strict=True)
        shown: list[Neighbour] = await do(partial(self._shown, found))  # there, too: pictures take a while
        return shown

    def _shown(self, found: list[tuple[float, int]]) -> list[Neighbour]:
        """Sketches by their similarities and rows."""
        return [
            Neighbour(
                label=self._names[self._split.labels[row]],
                id=self._ids[row],
                similarity=similarity,
                image=png_url(self._split.images[row][0]),
            )
            for similarity, row in found
        ]

    def _chosen(self, label: int) -> npt.NDArray[np.int64]:
        """The rows of a class that are compared with drawings; a split has its classes one after the other."""
        first, last = np.searchsorted(self._split.labels, (label, label + 1)).tolist()
        rows: npt.NDArray[np.int64] = first + spread(last - first, PER_CLASS)
        return rows

    async def _class(self, label: int, do: Do[Any]) -> Tensor:
        """Features of a class's chosen sketches, float32 [N, F] of length 1, computed where they have not been yet."""
        async with self._learning:  # whoever else wants the same need not compute it, too
            if label not in self._known:
                rows = self._rows[label]
                chunks = np.array_split(rows, -(-len(rows) // CHUNK))
                features = [await do(partial(self._features_of, chunk)) for chunk in chunks]
                self._known[label] = torch.cat(features)
            return self._known[label]

    def _features_of(self, rows: npt.NDArray[np.int64]) -> Tensor:
        return self._features(self._split.images[rows, 0])

    @torch.inference_mode()
    def _features(self, images: npt.NDArray[np.uint8]) -> Tensor:
        """uint8 [B, S, S] → what the classifier is shown of them, float32 [B, F], of length 1."""
        inputs = self._member.preprocess(torch.tensor(images)[:, None].to(self._device))
        with autocast(inputs.device, self._member.precision):
            features = features_of(self._member.model, inputs)
        return F.normalize(features.float(), dim=1).cpu()


def features_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """A timm model's pooled features, which its classifier is shown: [B, F]."""
    timms: Any = model
    features: Tensor = timms.forward_head(timms.forward_features(inputs), pre_logits=True)
    return features.flatten(1)
