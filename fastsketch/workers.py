"""Worker processes that are safe in notebooks, are spared the signals of their parent, and never outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.synchronize import Semaphore
from time import monotonic
from typing import Protocol, TypeVar

PATIENCE = 1.0
"""Seconds in which workers may finish what they are at when nobody wants it any more; somebody waits at a terminal."""

AHEAD = 3
"""Tasks a worker that are begun or done before somebody asks for their results."""

Key = TypeVar("Key")
Task = TypeVar("Task")
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)

_ENDING = (signal.SIGINT, signal.SIGTERM)
"""Sent to a whole process group by terminals and by schedulers; the parent alone answers them."""


class NoneStarted(BrokenProcessPool):
    """No worker process came as far as to do anything."""


class Pending(Protocol[Result_co]):
    """What was submitted somewhere, such as a `concurrent.futures.Future`."""

    def result(self) -> Result_co:
        """What came of it, waited for."""
        ...

    def cancel(self) -> object:
        """Have it not done, if it has not begun."""
        ...


def available_cpus() -> int:
    """Number of CPU cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of freshly spawned processes: forking a process that has threads (any notebook) can deadlock.

    What has not begun when the block is left is not begun any more. If it is left by an error or a signal, what has
    begun is given up after `PATIENCE` seconds.

    Raises:
        NoneStarted: Instead of a BrokenProcessPool, where not one process could start.
    """
    context = multiprocessing.get_context("spawn")
    gate = context.Semaphore(0)
    pool = ProcessPoolExecutor(workers, context, initializer=_prepare_worker, initargs=(gate,))
    started = []
    try:
        with _signals_later():
            for _ in range(workers):  # each starts a process, for none is idle while the gate is shut
                started.append(pool.submit(os.getpid))
            for _ in range(workers):
                gate.release()
        yield pool
        pool.shutdown(cancel_futures=True)
    except BrokenProcessPool as error:
        none_started = all(future.exception() for future in started)
        _give_up(pool, patience=0)  # those left may wait for ever for what the dead one held
        if none_started:
            raise NoneStarted(str(error)) from error
        raise
    except BaseException:
        _give_up(pool, patience=PATIENCE)
        raise


def map_ahead(
    function: Callable[[Task], Result], tasks: Iterable[tuple[Key, Task]], workers: int
) -> Generator[tuple[Key, Result], None, None]:
    """Call `function` on each task in worker processes, a bounded number of tasks ahead of who asks for the results.

    Args:
        function: Of a module, or a `partial` of one.
        tasks: What is called, each under a key that stays here.
        workers: Processes; 1 is this one itself, which is then ahead of nothing.

    Yields:
        Keys and results, in the order of the tasks.

    Raises:
        BrokenProcessPool: A process was killed; `NoneStarted` if none came as far as that.
    """
    if workers == 1:
        for key, task in tasks:
            yield key, function(task)
        return
    with process_pool(workers) as pool:
        yield from in_order(lambda task: pool.submit(function, task), tasks, lambda: AHEAD * workers)


def in_order(
    submit: Callable[[Task], Pending[Result]], tasks: Iterable[tuple[Key, Task]], window: Callable[[], int]
) -> Generator[tuple[Key, Result], None, None]:
    """Submit each task, a bounded number ahead of who asks for the results; what nobody asks for any more is cancelled.

    Args:
        submit: To a pool or a cluster.
        tasks: What is submitted, each under a key that stays here.
        window: How many may be under way; asked before each result.

    Yields:
        Keys and results, in the order of the tasks.

    Raises:
        Exception: Whatever `submit` or a task raises.
    """
    under_way: deque[tuple[Key, Pending[Result]]] = deque()
    try:
        for key, task in tasks:
            under_way.append((key, submit(task)))
            while len(under_way) > window():
                yield _earliest(under_way)
        while under_way:
            yield _earliest(under_way)
    finally:
        for _, pending in under_way:
            pending.cancel()


def _earliest(under_way: deque[tuple[Key, Pending[Result]]]) -> tuple[Key, Result]:
    key, pending = under_way[0]
    result = pending.result()  # if this is interrupted, it is under way still
    under_way.popleft()
    return key, result


def _give_up(pool: ProcessPoolExecutor, *, patience: float) -> None:
    """End a pool without waiting for more than `patience` seconds, whatever became of its processes."""
    processes, results = list((pool._processes or {}).values()), pool._result_queue
    deadline = monotonic() + patience
    try:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.join(max(0.0, deadline - monotonic()))
    finally:
        for process in processes:
            process.kill()
        # Of a result that was cut off the pool's thread awaits the rest, as long as anybody could write it.
        if results is not None:
            results._writer.close()  # type: ignore[attr-defined]


@contextmanager
def _signals_later() -> Iterator[None]:
    """Within this, Ctrl-C and SIGTERM wait; and a process that is started here never hears them.

    They come to the whole group, workers that are still importing included: each would print a traceback. And a pool
    whose workers die while it starts them, or whose starting is broken off between a worker and its entry in the list
    of them, can wait for ever.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # or the first process would start it here, and that lets all signals in again
    came: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # the only one that may, and that handlers run in
        for number in _ENDING:
            if callable(handler := signal.getsignal(number)):
                handlers[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # which is inherited, as a handler is not
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # what waited is put on the list now
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _prepare_worker(gate: Semaphore) -> None:
    """Leave Ctrl-C and SIGTERM to the parent, and end when it is gone, also by `kill -9`; then wait for the gate."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()
    gate.acquire()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
