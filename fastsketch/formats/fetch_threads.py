"""Threads that fetch what is asked of them, in the order of asking."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue


@cache
def threads(count: int) -> SimpleQueue[tuple[Future[None], Callable[[], None]]]:
    """A queue with so many threads behind it, which nobody waits for at the end, as a pool's would be."""
    tasks: SimpleQueue[tuple[Future[None], Callable[[], None]]] = SimpleQueue()
    for number in range(count):
        threading.Thread(target=_work, args=(tasks,), name=f"fetch-{number}", daemon=True).start()
    return tasks


def _work(tasks: SimpleQueue[tuple[Future[None], Callable[[], None]]]) -> None:
    while True:
        future, task = tasks.get()
        try:
            task()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(None)
