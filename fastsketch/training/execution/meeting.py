"""Where the processes of a training meet before they form a group: each says a word, and all go on with all words."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from uuid import uuid4

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from fastsketch.errors import FastSketchError

LIMIT = 600.0
"""Seconds that one waits for the others: as long as torchrun waits for its nodes."""

_PAUSE = 0.05


def meet(rank: int, size: int, word: str, limit: float = LIMIT) -> tuple[Store, list[str]]:
    """Wait for all processes at the address that torchrun gave them.

    torchrun's store may outlive the processes, with what the ones before a restart said there (NCCL has taken their
    address for the new one's: pytorch/pytorch#135712). Nothing in the environment tells one try from the next, as the
    count of restarts is each machine's own. So each process brings a key that nobody had before, and the first calls
    the roll until everyone on it has answered; the first one's key is the prefix of all that follows.

    Args:
        rank: This process's number.
        size: How many there are.
        word: What the others are to know of this process.
        limit: Seconds.

    Returns:
        A store of this meeting's own, and the words of all processes, by rank.

    Raises:
        FastSketchError: Not all came in time.
        RuntimeError: The store is gone, with the process or the machine that held it.
    """
    until = time.monotonic() + limit
    store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=limit)))
    key = uuid4().hex
    if rank:
        store.set(f"fastsketch/{rank}", json.dumps([key, word]))
    while time.monotonic() < until:
        met = _answer(store, rank, key) if rank else _call(store, size, key, word)
        if met is not None:
            return met
        time.sleep(_PAUSE)
    raise FastSketchError(
        f"not all {size} processes of this training have come within {limit:.0f} seconds",
        hint="see what the others say, on their machines; the same command begins again, or continues",
    )


def _call(store: Store, size: int, key: str, word: str) -> tuple[Store, list[str]] | None:
    """Rank 0 reads the roll aloud; None as long as somebody on it is missing, or of an earlier try."""
    names = [f"fastsketch/{rank}" for rank in range(1, size)]
    if not store.check(names):
        return None
    others = [json.loads(store.get(name)) for name in names]
    store.set("fastsketch/roll", json.dumps([key, *(theirs for theirs, _ in others)]))
    if not store.check([f"{key}/{theirs}" for theirs, _ in others]):
        return None
    words = [word, *(said for _, said in others)]
    store.set(f"{key}/words", json.dumps(words))
    return PrefixStore(key, store), words


def _answer(store: Store, rank: int, key: str) -> tuple[Store, list[str]] | None:
    """All others answer when they hear their key, until the first has heard everyone."""
    if not store.check(["fastsketch/roll"]):
        return None
    roll = json.loads(store.get("fastsketch/roll"))
    if roll[rank : rank + 1] != [key]:
        return None
    store.set(f"{roll[0]}/{key}", "here")
    if not store.check([f"{roll[0]}/words"]):
        return None
    return PrefixStore(roll[0], store), json.loads(store.get(f"{roll[0]}/words"))
