"""Streaming from the memory-mapped pack: for splits larger than the device, with nothing to install."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor

from fastsketch.formats.pack import JoinedSplit, PackSplit
from fastsketch.loaders.base import Batch, Sampling

AHEAD = 3
"""Batches that are read before they are asked for."""


class _Slot(NamedTuple):
    """A buffer on the host, pinned for a GPU, and the end of the last copy out of it."""

    images: Tensor
    labels: Tensor
    copied: torch.cuda.Event | None


class PackLoader:
    """Batches gathered from the pack by a thread of their own, some batches ahead.

    On the CPU the buffers themselves are handed out. For a GPU they are pinned, and the thread copies them over on a
    stream of its own, so that neither reading nor copying makes the training wait.

    Args:
        split: The split, or several joined, memory-mapped.
        sampling: Order and batches.
        device: Where batches go.
    """

    verified: frozenset[str] = frozenset()

    def __init__(self, split: PackSplit | JoinedSplit, sampling: Sampling, device: torch.device) -> None:
        self._split = split
        self._sampling = sampling
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        size = sampling.batch_size
        # One more than are under way: the one that the caller holds.
        self._slots = [
            _Slot(
                torch.empty((size, *split.image_shape), dtype=torch.uint8, pin_memory=self._stream is not None),
                torch.empty(size, dtype=torch.int64, pin_memory=self._stream is not None),
                None if self._stream is None else torch.cuda.Event(),  # type: ignore[no-untyped-call]
            )
            for _ in range(AHEAD + 1)
        ]
        self.samples = sampling.samples(len(split))
        for part in split.parts:
            part.fetch_behind()

    def __len__(self) -> int:
        return self._sampling.batches(len(self._split))

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        order = self._sampling.indices(len(self._split), number, torch.device("cpu"))
        if self._stream is not None:
            order = order.pin_memory()
        thread = ThreadPoolExecutor(1, thread_name_prefix="pack-loader")
        window: deque[Future[Batch]] = deque()
        try:
            for slot, indices in zip(cycle(self._slots), self._sampling.cut(order, skip=skip), strict=False):
                window.append(thread.submit(self._read, slot, indices))
                if len(window) > AHEAD:
                    yield self._handed_over(window.popleft().result())
            while window:
                yield self._handed_over(window.popleft().result())
        finally:
            thread.shutdown(cancel_futures=True)

    def _read(self, slot: _Slot, indices: Tensor) -> Batch:
        """Runs in the thread."""
        if slot.copied is not None:
            slot.copied.synchronize()
        images, labels = slot.images[: len(indices)], slot.labels[: len(indices)]
        self._split.take(indices.numpy(), images.numpy(), labels.numpy())
        if self._stream is None or slot.copied is None:
            return Batch(*(tensor.to(self._device) for tensor in (images, labels, indices)))
        with torch.cuda.stream(self._stream):
            batch = Batch(*(tensor.to(self._device, non_blocking=True) for tensor in (images, labels, indices)))
            slot.copied.record(self._stream)
        return batch

    def _handed_over(self, batch: Batch) -> Batch:
        """Make the current stream wait for the copy, and the allocator for the current stream."""
        if self._stream is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_stream(self._stream)
            for tensor in batch:
                tensor.record_stream(stream)
        return batch
