"""FFCV's loader over a `.beton`: for splits larger than the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from fastsketch.formats.beton import import_ffcv
from fastsketch.loaders.base import Batch, Sampling
from fastsketch.workers import available_cpus

AHEAD = 2
"""Steps that the host may be ahead of a GPU: FFCV fills its pinned buffers anew, four or five batches later, without
asking whether they have been copied."""


class FFCVLoader:
    """Batches as FFCV's compiled pipeline fills them, in our order.

    They lie in buffers that FFCV fills again: see `Batch`.

    Args:
        path: The `.beton`, whose tables are those of these samples (`checked_beton`): FFCV believes them.
        total: Samples in it.
        sampling: Order and batches.
        device: Where batches go.

    Raises:
        BackendMissing: FFCV is not installed.
    """

    verified: frozenset[str] = frozenset()

    def __init__(self, path: Path, total: int, sampling: Sampling, device: torch.device) -> None:
        loader, basics, ndarray, ops = (
            import_ffcv(module) for module in ("loader", "fields.basics", "fields.ndarray", "transforms.ops")
        )
        to_device = [ops.ToTensor(), *([ops.ToDevice(device, non_blocking=True)] if device.type == "cuda" else [])]
        self._device = device
        self._sampling = sampling
        self._total = total
        self._loader = loader.Loader(
            str(path),
            sampling.batch_size,
            # A copy is no work for several threads; the number matters because FFCV makes it torch's, too.
            num_workers=min(torch.get_num_threads(), available_cpus()),
            os_cache=True,
            order=loader.OrderOption.SEQUENTIAL,
            seed=0,  # unused, but FFCV would draw one from NumPy's global generator
            drop_last=False,
            pipelines={
                "image": [ndarray.NDArrayDecoder(), *to_device],
                "label": [basics.IntDecoder(), *to_device],
                "index": [basics.IntDecoder(), *to_device],
            },
        )
        self.samples = sampling.samples(total)

    def __len__(self) -> int:
        return self._sampling.batches(self._total)

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        if skip >= len(self):
            return  # FFCV cannot go through an empty order
        order = self._sampling.indices(self._total, number, torch.device("cpu")).numpy()
        # FFCV's "sequential" order is that of the indices that it was given: given anew, they are any order.
        self._loader.traversal_order.indices = order[skip * self._sampling.batch_size :].astype(np.uint64)
        batches = iter(self._loader)
        used: deque[torch.cuda.Event] = deque()
        try:
            for images, labels, indices in batches:
                if self._device.type == "mps":
                    images, labels, indices = (tensor.to(self._device) for tensor in (images, labels, indices))
                # FFCV takes one channel for channels-last, with its strides; compiled steps know the usual ones.
                yield Batch(images.squeeze(1).unsqueeze(1), labels.squeeze(1), indices.squeeze(1))
                if images.is_cuda:
                    used.append(torch.cuda.current_stream().record_event())
                    if len(used) > AHEAD:
                        used.popleft().synchronize()
        finally:
            batches.close()  # ends FFCV's thread, if the epoch was broken off
