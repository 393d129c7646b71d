"""Clusters that exist already, Dask's or Ray's, as something that a function is submitted to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

from fastsketch.errors import ConfigError, FastSketchError, one_line
from fastsketch.optional import import_optional

log = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
"""Within which a scheduler answers."""

LOOK_SECONDS = 5.0
"""Between two looks at how many workers there are."""

RETRIES = 3
"""So many workers more may die of a task; Dask allows as many (`distributed.scheduler.allowed-failures`)."""

CONTINUES = "the same command continues, also without --executor"

SAME = "install the same version of it for scheduler and workers as here"

Result = TypeVar("Result")


def require_cluster(url: str) -> None:
    """Tell, before anything is written, that a cluster's library is missing or that nobody answers at its address.

    Args:
        url: `dask://HOST:PORT`, `ray://HOST:PORT`, or `ray://` for the Ray that runs on this machine.

    Raises:
        BackendMissing: The library is not installed.
        FastSketchError: Nothing answers.
    """
    kind, _, address = url.partition("://")
    _import(kind)
    host, _, port = (address or _address_of_the_ray_here()).rpartition("/")[2].rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _unanswered(url, error) from error


def open_cluster(url: str) -> AbstractContextManager[Cluster]:
    """A cluster for as long as a block lasts.

    Args:
        url: As for `require_cluster`.

    Raises:
        BackendMissing: The library is not installed.
        FastSketchError: Nothing answers.
    """
    return _CLUSTERS[url.partition("://")[0]](url)


class Cluster:
    """Something that runs functions elsewhere.

    Args:
        url: Its name in errors.
        start: Submits a function with its arguments, and returns the future of its result with what cancels it.
        count: Says how many functions can run at once now.
        explain: Makes the user's error of what a submission or a result raised; None of what must be a bug.
    """

    def __init__(
        self,
        url: str,
        start: Callable[..., tuple[Future[Any], Callable[[], object]]],
        count: Callable[[], int],
        explain: Callable[[BaseException], FastSketchError | None],
    ) -> None:
        self.url = url
        self._start, self._count, self._explain = start, count, explain
        self._cores, self._looked_at, self._told = 0, -LOOK_SECONDS, False

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Submitted[Result]:
        """Have a function called by a worker.

        Raises:
            FastSketchError: The cluster is gone.
        """
        with self.explained():
            return Submitted(self, *self._start(function, *arguments))

    def cores(self) -> int:
        """How many functions can run at once, as of some seconds ago; that there are no workers is told once.

        Raises:
            FastSketchError: The cluster is gone.
        """
        if monotonic() - self._looked_at >= LOOK_SECONDS:
            with self.explained():
                self._cores, self._looked_at = self._count(), monotonic()
            if not self._cores and not self._told:
                self._told = True
                log.info("%s has no workers now: waiting for some", self.url)
        return self._cores

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Within this, what can only be the cluster's fault is told as that."""
        try:
            yield
        except Exception as error:
            cause = getattr(error, "cause", error)  # Ray wraps it
            if isinstance(cause, FastSketchError):
                raise FastSketchError(f"{self.url}: on a worker, {cause.message}", hint=cause.hint) from error
            if isinstance(cause, ImportError):
                told = f"{self.url}: a worker cannot import what is to run there ({_reason(cause)})"
                raise FastSketchError(told, hint=SAME) from error
            if explanation := self._explain(error):
                raise explanation from error
            raise


@dataclass(frozen=True, slots=True)
class Submitted(Generic[Result]):
    """A function that runs, or will run, on a cluster."""

    cluster: Cluster
    future: Future[Result]
    cancel: Callable[[], object]

    def result(self) -> Result:
        """What it returned.

        Raises:
            FastSketchError: The cluster is gone, or its workers died of it or cannot run it.
            Exception: Whatever else it raised.
        """
        while not wait([self.future], LOOK_SECONDS).done:
            self.cluster.cores()
        with self.cluster.explained():
            return self.future.result()


def _unanswered(url: str, error: BaseException) -> FastSketchError:
    if url == "ray://":
        hint = "`ray start --head` starts one, and RAY_ADDRESS names another"
    elif url.startswith("ray"):
        hint = "the port is that of Ray's client server, by default 10001; ray:// alone is the Ray that runs here"
    else:
        hint = "`dask scheduler` says its address when it starts"
    return FastSketchError(f"{url} does not answer ({_reason(error)})", hint=hint)


def _gone(url: str, error: BaseException) -> FastSketchError:
    return FastSketchError(f"{url} does not answer any more ({_reason(error)})", hint=CONTINUES)


def _died(url: str) -> FastSketchError:
    told = f"{url}: {RETRIES + 1} workers died of the same chunk, most likely for want of memory"
    return FastSketchError(told, hint=f"look into their logs; with more memory a worker {CONTINUES}")


def _reason(error: BaseException) -> str:
    """The first line of what a library says."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error).strip()
    return one_line((said.splitlines() or [type(error).__name__])[0], 200)


def _import(kind: str) -> Any:
    module, name = {"dask": ("distributed", "Dask's distributed"), "ray": ("ray", "Ray")}[kind]
    return import_optional(module, name, kind)


# ------------------------------------------------------------------------------------------------------------ Dask


@contextmanager
def _dask(url: str) -> Iterator[Cluster]:
    """A scheduler of Dask's, as long as the block lasts."""
    distributed = _import("dask")
    with _hushed("distributed", "distributed.client", "tornado.application"):
        try:
            client = _within(2 * ANSWER_SECONDS, partial(_client, distributed, url))
        except Exception as error:  # whatever does not speak Dask's language raises what it likes
            raise _unanswered(url, error) from error

        def start(function: Callable[..., Any], *arguments: Any) -> tuple[Future[Any], Callable[[], object]]:
            # `client.get_executor()` does as much, but for a worker that dies while its result is on the way: that is
            # a TypeError there, and is computed once more here.
            there = client.submit(function, *arguments, pure=False)
            here = asyncio.run_coroutine_threadsafe(client.gather(there, asynchronous=True), client.loop.asyncio_loop)
            return here, there.cancel

        def explain(error: BaseException) -> FastSketchError | None:
            if isinstance(error, distributed.KilledWorker):
                return _died(url)
            if "deserialization of the task graph" in str(error):
                return FastSketchError(f"{url}: its scheduler cannot import what the workers are to run", hint=SAME)
            lost = isinstance(error, OSError | CancelledError) or client.status in ("closing", "closed")
            return _gone(url, error) if lost else None

        try:
            yield Cluster(url, start, lambda: sum(client.nthreads().values()), explain)
        finally:
            with suppress(Exception):  # it may be gone
                client.close(timeout=ANSWER_SECONDS)


def _client(distributed: Any, url: str) -> Any:
    # Without a protocol, `distributed.comm.default-scheme` chooses one.
    address = url.partition("://")[2]
    return distributed.Client(address, timeout=ANSWER_SECONDS, set_as_default=False, name="fastsketch")


def _within(seconds: float, function: Callable[[], Result]) -> Result:
    """What a function returns or raises; if it takes longer, it is left alone.

    Dask's client waits for ever for the first word of what took its connection and says nothing.

    Raises:
        TimeoutError: It took longer.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(seconds)


@contextmanager
def _hushed(*names: str) -> Iterator[None]:
    """Within this, loggers say nothing: what is lost for good is told in a line, what is done once more is not."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# ------------------------------------------------------------------------------------------------------------- Ray


@contextmanager
def _ray(url: str) -> Iterator[Cluster]:
    """A cluster of Ray's, as long as the block lasts; longer, where this process was connected to it before."""
    ray = _import("ray")
    there_before, address = ray.is_initialized(), url.partition("://")[2]
    if address and there_before:
        raise ConfigError(f"{url}: this process is connected to a Ray already", hint="--executor ray:// takes that one")
    try:
        if not there_before:
            with _same_handler(signal.SIGTERM):
                ray.init(url if address else "auto", logging_level="error", log_to_driver=False)
    except Exception as error:
        raise _unanswered(url, error) from error
    call = ray.remote(_call).options(max_retries=RETRIES)

    def connected() -> Any:
        if not ray.is_initialized():
            raise ConnectionError("the connection is closed")  # whatever is called then starts a Ray on this machine
        return ray

    def start(function: Callable[..., Any], *arguments: Any) -> tuple[Future[Any], Callable[[], object]]:
        connected()
        reference = call.remote(function, *arguments)
        return reference.future(), partial(cancel, reference)

    def cancel(reference: Any) -> None:
        with suppress(Exception):  # it may be gone
            connected().cancel(reference)

    def count() -> int:
        return int(connected().cluster_resources().get("CPU", 0))

    def explain(error: BaseException) -> FastSketchError | None:
        if isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.OutOfMemoryError):
            return _died(url)
        # A lost connection is a ConnectionError, gRPC's ValueError and more.
        return None if isinstance(error, ray.exceptions.RayTaskError) else _gone(url, error)

    try:
        with _hushed("ray"):
            yield Cluster(url, start, count, explain)
    finally:
        if not there_before:
            ray.shutdown()


def _address_of_the_ray_here() -> str:
    """Where `ray.init("auto")` looks, which waits for minutes where nobody is any more; empty if it has to search."""
    with suppress(OSError):
        return os.environ.get("RAY_ADDRESS") or Path("/tmp/ray/ray_current_cluster").read_text("utf-8").strip()
    return ""


def _call(function: Callable[..., Result], *arguments: Any) -> Result:
    """Runs on a worker: one remote function of Ray's is enough for all."""
    return function(*arguments)


@contextmanager
def _same_handler(number: int) -> Iterator[None]:
    """Within this, a library may put a handler of its own in the place of ours."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # the only one that may
            signal.signal(number, handler)


_CLUSTERS: dict[str, Callable[[str], AbstractContextManager[Cluster]]] = {"dask": _dask, "ray": _ray}
