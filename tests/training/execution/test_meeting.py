"""Processes meet at torchrun's store, which holds all that those before a restart have said."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest
import torch.distributed as dist

from fastsketch.errors import FastSketchError
from fastsketch.training.execution.meeting import meet

Met = tuple[dist.Store, list[str]]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.TCPStore:
    """What an agent of torchrun holds."""
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20))
    variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port), "RANK": "0", "WORLD_SIZE": "3"}
    for name, value in {**variables, "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    return server


def all_meet(words: list[str], order: tuple[int, ...]) -> list[Met]:
    """What processes, one a thread, hear, by rank; they come in that order, each when the one before waits."""
    with ThreadPoolExecutor(len(words)) as threads:
        coming = {}
        for rank in order:
            coming[rank] = threads.submit(meet, rank, len(words), words[rank], 20)
            if rank != order[-1]:
                assert not wait([coming[rank]], 0.15).done
        return [coming[rank].result() for rank in range(len(words))]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_each_hears_the_words_of_all_and_none_of_the_try_before(store: dist.TCPStore, order: tuple[int, ...]) -> None:
    stores = []
    for attempt in "first", "second":
        words = [f"{attempt} {rank}" for rank in range(3)]
        met = all_meet(words, order)
        assert [heard for _, heard in met] == [words] * 3
        met[0][0].set("port", attempt)
        assert [each.get("port") for each, _ in met] == [attempt.encode()] * 3
        stores.append(met[0][0])
    assert stores[0].get("port") == b"first"


def test_words_of_the_try_before_do_not_stand_for_a_process_that_has_not_come(store: dist.TCPStore) -> None:
    all_meet(["old"] * 3, (0, 1, 2))
    with ThreadPoolExecutor(2) as threads:
        for waiting in [threads.submit(meet, rank, 3, "new", 0.6) for rank in range(2)]:
            with pytest.raises(FastSketchError, match=r"not all 3 processes .* within 1 seconds"):
                waiting.result()


def test_a_process_that_ended_before_all_had_come_is_not_waited_for(store: dist.TCPStore) -> None:
    store.set("fastsketch/1", json.dumps(["a key of nobody", "gone"]))
    store.set("fastsketch/roll", json.dumps(["nobody", "nor", "these"]))
    assert [heard for _, heard in all_meet(["a", "b", "c"], (2, 0, 1))] == [["a", "b", "c"]] * 3
