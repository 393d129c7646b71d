"""Several processes that train one model, as torchrun starts them: NCCL between GPUs, gloo between CPUs."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from fastsketch.augment.params import AugmentParams
from fastsketch.errors import ConfigError, FastSketchError


class RefusedElsewhere(FastSketchError):
    """Raised in the processes of a training that only hear that rank 0, which says why, cannot begin."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0; rank 0 alone writes and reports.
        local_rank: Its number on its own machine, which is that of its GPU.
        size: How many there are.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1

    @classmethod
    def of_environment(cls) -> World:
        """What torchrun set in RANK, LOCAL_RANK and WORLD_SIZE; a single process if it set nothing."""
        rank, local_rank, size = (int(os.environ.get(name, default)) for name, default in _VARIABLES)
        return cls(rank, local_rank, size)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def device_name(self, name: str) -> str:
        """`training.device`, narrowed to this process's own GPU where there are several processes."""
        on_gpus = name == "cuda" or (name == "auto" and torch.cuda.is_available())
        return f"cuda:{self.local_rank}" if self.size > 1 and on_gpus else name

    def share(self, batch_size: int) -> int:
        """Images a step in this process, of a batch over all of them.

        Raises:
            ConfigError: The batch cannot be shared out evenly.
        """
        if batch_size % self.size:
            raise ConfigError(f"data.batch_size {batch_size} cannot be shared among {self.size} processes")
        return batch_size // self.size

    def rows(self, params: AugmentParams) -> AugmentParams:
        """This process's part of what was drawn for a whole batch: its samples are every `size`-th of the order."""
        if self.size == 1:
            return params
        mine: AugmentParams = tree_map_only(Tensor, lambda rows: rows[self.rank :: self.size], params)
        return mine

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """The process group, as long as training lasts."""
        if self.size == 1:
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        try:
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
            yield
        except RuntimeError as error:
            if not _is_of_another(error):
                raise
            raise FastSketchError(
                "another process of this training has ended, and this one cannot go on alone",
                hint="what was saved is whole: the same command continues the run",
            ) from error
        finally:
            if dist.is_initialized():
                # What still refers to the group, as a wrapped model in a cycle does, keeps gloo's threads alive; one
                # that lets go of a tensor after the interpreter's end aborts the process.
                gc.collect()
                dist.destroy_process_group()

    @contextmanager
    def led(self, beginning: AbstractContextManager[None], device: torch.device) -> Iterator[None]:
        """Enter what rank 0 alone enters; all others wait for it, and none goes on if it cannot.

        Raises:
            FastSketchError: What rank 0 found; in all others `RefusedElsewhere`.
        """
        with ExitStack() as entered:
            refusal: FastSketchError | None = None
            if self.leads:
                try:
                    entered.enter_context(beginning)
                except FastSketchError as error:
                    refusal = error
            if not self.agreed(refusal is None, device):
                raise refusal or RefusedElsewhere("the first process of this training could not begin, and says why")
            yield

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over all processes; shares its parameters with `model`."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def align(self, model: nn.Module) -> None:
        """Give every process rank 0's statistics of batch normalisation: its model is the one that is saved."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def agreed(self, decision: bool, device: torch.device) -> bool:
        """What rank 0 decided: clocks differ from process to process. With several processes this waits for all."""
        if self.size == 1:
            return decision
        flag = torch.tensor(decision, device=device, dtype=torch.int32)
        dist.broadcast(flag, src=0)
        return bool(flag)


def _is_of_another(error: RuntimeError) -> bool:
    """Whether it says that another process is gone: torch has a class for NCCL's errors, gloo's are told by words."""
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


_VARIABLES = (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))
