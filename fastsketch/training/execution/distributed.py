"""Several processes that train one model, as torchrun starts them: NCCL between GPUs, gloo between CPUs."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from fastsketch.augment.params import AugmentParams
from fastsketch.errors import ConfigError, FastSketchError
from fastsketch.training.execution.meeting import meet

PATIENCE = 60.0
"""Longer than torchrun leaves a process between SIGTERM and SIGKILL."""


class RefusedElsewhere(FastSketchError):
    """Raised in the processes of a training that only hear that it cannot begin, and that another one says why."""


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
    def patience(self) -> float:
        """Seconds to wait for a run directory: where torchrun begins anew, a process being killed may hold it still."""
        restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
        return PATIENCE if self.size > 1 and restarts else 0.0

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
    def refusing(self) -> Iterator[None]:
        """Within this, before the group is formed, all are told what one is refused: they would wait for it in vain."""
        try:
            yield
        except FastSketchError as refusal:
            if self.size > 1:
                with suppress(FastSketchError, RuntimeError, ValueError):  # what this one is refused counts more
                    meet(self.rank, self.size, json.dumps({_REFUSED: [refusal.message, refusal.hint]}))
            raise

    @contextmanager
    def joined(self, device: torch.device, alike: Mapping[str, object]) -> Iterator[None]:
        """The process group, as long as training lasts.

        Args:
            device: This process's.
            alike: By its name, whatever JSON can hold and must be the same in all processes.

        Raises:
            ConfigError: It is not, or another process is refused something; in all but rank 0 `RefusedElsewhere`.
            FastSketchError: Another process has not come, or has ended.
        """
        if self.size == 1:
            yield
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        try:
            store, words = meet(self.rank, self.size, json.dumps({"device": device.type, **alike}))
            self._compare([json.loads(word) for word in words])
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size)
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

    def _compare(self, words: list[dict[str, Any]]) -> None:
        first = words[0]
        for rank, word in enumerate(words):
            if _REFUSED in word:
                message, hint = word[_REFUSED]
                raise self.told(f"process {rank} of this training cannot begin: {message}", hint)
        for rank, word in enumerate(words):
            for name in first:
                if word.get(name) != first[name]:
                    message = f"{name} is {first[name]} in process 0 of this training, but {word.get(name)} in {rank}"
                    raise self.told(message, "give all machines the same command, and the same data set")

    def told(self, message: str, hint: str | None = None) -> FastSketchError:
        """What all processes know, as rank 0 says it, and as the others end by it."""
        return ConfigError(message, hint=hint) if self.leads else RefusedElsewhere("the first process says why")

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

    def anywhere(self, found: bool, device: torch.device) -> bool:
        """Whether any process found it, told to all of them. With several processes this waits for all."""
        return bool(self.sum(torch.tensor(int(found), device=device)))

    def first(self, words: str, device: torch.device) -> str:
        """What rank 0 says, in every process. With several processes this waits for all."""
        if self.size == 1:
            return words
        letters = torch.tensor(list(words.encode()), device=device, dtype=torch.uint8)
        count = torch.tensor(len(letters), device=device)
        dist.broadcast(count, src=0)
        if not self.leads:
            letters = torch.empty(int(count), device=device, dtype=torch.uint8)
        dist.broadcast(letters, src=0)
        return bytes(letters.tolist()).decode()

    def unlike(self, words: str, device: torch.device) -> int:
        """In how many processes they are not those of rank 0, told to all of them."""
        return int(self.sum(torch.tensor(int(self.first(words, device) != words), device=device)))


def _is_of_another(error: RuntimeError) -> bool:
    """Whether it says that another process is gone: torch has a class for NCCL's errors, gloo's are told by words."""
    words = ("gloo", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


_REFUSED = "refused"
_VARIABLES = (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))
