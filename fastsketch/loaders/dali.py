"""NVIDIA DALI over WebDataset tars: for splits larger than the device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from fastsketch.errors import DataError, one_line
from fastsketch.formats.tar import IMAGE, TARGET
from fastsketch.loaders.base import Batch, Sampling, derived_seed
from fastsketch.optional import import_optional
from fastsketch.workers import available_cpus

SHUFFLE_BYTES = 1 << 28
"""DALI shuffles through a buffer of so many bytes: 5,000 images of 224 px. The tars themselves are well mixed."""

PIPELINE_SAMPLES = 200_000
"""A pipeline serves the epochs that begin within so many samples; then a new one is built, with a new seed."""


def import_dali(module: str) -> Any:
    """DALI's submodule of that name.

    Raises:
        BackendMissing: DALI is not installed.
    """
    extra = "dali-cu12" if (torch.version.cuda or "").startswith("12") else "dali-cu13"
    return import_optional(f"nvidia.dali.{module}", "DALI", extra, " (Linux only)")


class DALILoader:
    """Batches from DALI's WebDataset reader: in GPU memory if there is a GPU, else from a pipeline of the CPU alone.

    The reader's random state runs on from epoch to epoch, and building a pipeline for each would cost more than
    reading a small data set. So a pipeline serves a fixed number of epochs, seeded by the first of them, and to begin
    in the middle those before are run through: the order stays a function of the seed and the epoch's number.

    Args:
        tars: The shards, each with its index file beside it, which is right (`checked_tars`): DALI believes it.
        labels: int64 [N], the labels of all samples, verified: those in the tars are not looked at.
        size: Side of the images in pixels.
        sampling: Order and batches.
        device: Where batches go.

    Raises:
        BackendMissing: DALI is not installed.
        DataError: Later: DALI cannot read a tar after all.
    """

    verified: frozenset[str] = frozenset()

    def __init__(
        self,
        tars: Sequence[Path],
        labels: npt.NDArray[np.int64],
        size: int,
        sampling: Sampling,
        device: torch.device,
    ) -> None:
        import_dali("fn")
        self._tars = tars
        self._labels = torch.from_numpy(labels).to(device)
        self._total = total = len(labels)
        self._size = size
        self._sampling = sampling
        self._device = device
        # With padding, the reader's epochs are as long on all ranks: as long as the largest share.
        largest = math.ceil(total / sampling.world_size)
        self._reader_batches = math.ceil(largest / sampling.batch_size)
        self._epochs = max(1, PIPELINE_SAMPLES // total)
        self._pipeline: Any = None
        self._first = 0  # the epoch that the pipeline was built for
        self._next: tuple[int, int] | None = None
        self.samples = self._share(0)

    def __len__(self) -> int:
        return math.ceil(self.samples / self._sampling.batch_size)

    def epoch(self, number: int = 0, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch."""
        self._go_to(number)
        size, share = self._sampling.batch_size, self._share(number)
        for position, start in enumerate(range(0, share, size)):
            if position < skip:
                self._run()
            else:
                # No name for what is yielded: it would keep DALI from using the memory again.
                yield self._batch(self._run(), min(size, share - start))

    def _share(self, epoch: int) -> int:
        """Samples of this rank in an epoch: the reader's shards go round the ranks."""
        if self._sampling.drop_last:
            return self._sampling.samples(self._total)
        shard, shards = (self._sampling.rank + epoch) % self._sampling.world_size, self._sampling.world_size
        return self._total * (shard + 1) // shards - self._total * shard // shards

    def _go_to(self, epoch: int) -> None:
        """Bring a pipeline to the beginning of an epoch."""
        first = epoch - epoch % self._epochs
        # A pipeline that has served its epochs may stand at the next one's beginning: its seed is the former ones'.
        if self._next is None or self._first != first or self._next > (epoch, 0):
            self._pipeline = self._build(first)
            self._first, self._next = first, (first, 0)
        while self._next < (epoch, 0):
            self._run()

    def _run(self) -> Any:
        """The next batch of the pipeline, whichever epoch it belongs to."""
        assert self._next is not None
        epoch, batch = self._next
        self._next = (epoch, batch + 1) if batch + 1 < self._reader_batches else (epoch + 1, 0)
        try:
            return self._pipeline.run()
        except RuntimeError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: RuntimeError) -> DataError:
        """DALI's words, without the lines that say where in our code it was set up."""
        reason = str(error).rpartition("encountered:")[2].strip().splitlines()
        folder = self._tars[0].parent
        remedy = f"delete them and write them anew: fastsketch convert {folder} --format dali"
        return DataError(
            f"{folder}: DALI cannot read the tars ({one_line(reason[0] if reason else error, 200)})",
            hint=f"set data.loader to pack, or {remedy}",
        )

    def _batch(self, outputs: Any, count: int) -> Batch:
        """DALI's memory as tensors, without a copy and without the padding of a last batch."""
        over = from_dlpack if self._device.type == "cuda" else _from_host
        images, targets = (over(output.as_tensor())[:count] for output in outputs)
        if images.device != self._device:
            images, targets = images.to(self._device), targets.to(self._device)
        # Whatever the bytes say, it is a place in the split: an index beyond it would bring a GPU down.
        indices = targets[:, 1].clamp(0, self._total - 1)
        return Batch(images, self._labels.index_select(0, indices), indices)

    def _build(self, first_epoch: int) -> Any:
        """A pipeline that begins with `first_epoch`."""
        dali, fn, types = import_dali("pipeline"), import_dali("fn"), import_dali("types")
        sampling = self._sampling
        on_gpu = self._device.type == "cuda"
        pipeline = dali.Pipeline(
            batch_size=sampling.batch_size,
            num_threads=available_cpus(),
            device_id=(self._device.index or 0) if on_gpu else None,
            seed=derived_seed(sampling.seed, first_epoch) % (1 << 31),
            # On a GPU outputs are handed over, for good. On a CPU they lie in DALI's buffers, filled again by the next
            # run: new memory for every batch would cost a third of the time.
            exec_dynamic=on_gpu,
        )
        with pipeline:
            images, targets = fn.readers.webdataset(
                paths=[str(tar) for tar in self._tars],
                index_paths=[str(tar.with_suffix(".idx")) for tar in self._tars],
                ext=[IMAGE, TARGET],
                dtypes=[types.UINT8, types.INT64],
                missing_component_behavior="error",
                random_shuffle=sampling.shuffle,
                initial_fill=min(self._total, max(sampling.batch_size, SHUFFLE_BYTES // self._size**2)),
                shard_id=(sampling.rank + first_epoch) % sampling.world_size,
                num_shards=sampling.world_size,
                pad_last_batch=True,
            )
            images = fn.reshape(images, shape=[1, self._size, self._size])
            pipeline.set_outputs(*((images.gpu(), targets.gpu()) if on_gpu else (images, targets)))
        try:
            pipeline.build()
        except RuntimeError as error:
            raise self._unreadable(error) from error
        return pipeline


def _from_host(values: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values))
