"""Decoding on a cluster that exists already: Dask's or Ray's.

The driver lists, appends and keeps the journal as it does with processes of its own, and a cluster decodes the same
chunks: where that happens, and how often a worker dies of it, decides no byte.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pkgutil
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

import PIL

from fastsketch.errors import ConfigError, FastSketchError, one_line
from fastsketch.optional import import_optional
from fastsketch.sources.sample import ImageSample, Sample
from fastsketch.version import __version__
from fastsketch.workers import AHEAD, in_order

log = logging.getLogger(__name__)

AHEAD_PIXELS = 1 << 30
"""Of all results under way, however many workers there are: they may all lie here and wait for an earlier one."""

ANSWER_SECONDS = 5.0
"""Within which a scheduler answers."""

LOOK_SECONDS = 5.0
"""Between two looks at how many workers there are."""

RETRIES = 3
"""So many workers more may die of a task; Dask allows as many (`distributed.scheduler.allowed-failures`)."""

CONTINUES = "the same command continues, also without --executor"

SAME = "install the same version of it for scheduler and workers as here"

Key = TypeVar("Key")
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
    if address:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
        except OSError as error:
            raise _unanswered(url, error) from error


def decode_on_cluster(
    decode: Callable[[list[Sample]], Result], tasks: Iterable[tuple[Key, list[Sample]]], url: str, chunk_pixels: int
) -> Generator[tuple[Key, Result], None, None]:
    """Decode chunks on a cluster, a bounded number of them ahead of who asks for the results.

    Args:
        decode: Of a module, or a `partial` of one.
        tasks: Chunks of samples, each under a key that stays here.
        url: As for `require_cluster`.
        chunk_pixels: Of a chunk's result; of all results under way there are `AHEAD_PIXELS` at most.

    Yields:
        Keys and results, in the order of the tasks.

    Raises:
        BackendMissing: The library is not installed.
        FastSketchError: Nothing answers, or no more; the workers have another fastsketch or none, do not see a file
            that is there, or die of a chunk.
    """
    kind, _, _ = url.partition("://")
    with _CLUSTERS[kind](url) as cluster:
        _check_version(cluster, _version(cluster, "fastsketch.version"))
        if (pillow := _version(cluster, "PIL")) != PIL.__version__:
            log.warning(
                "%s: a worker has Pillow %s, here it is %s: JPEGs may be other bytes", url, pillow, PIL.__version__
            )
        there = ((key, _anywhere(samples)) for key, samples in tasks)
        submit = partial(cluster.submit, partial(_decode_there, decode))
        most = AHEAD_PIXELS // chunk_pixels
        with closing(in_order(submit, there, lambda: max(1, min(AHEAD * cluster.cores(), most)))) as ordered:
            for key, answer in ordered:
                _check_version(cluster, answer.version)
                _check_seen(cluster, answer.unseen)
                yield key, answer.result


@dataclass(frozen=True, slots=True)
class _Answer(Generic[Result]):
    """What a worker says of a chunk.

    Attributes:
        version: Of its fastsketch.
        unseen: Paths of images that it may not read, or that are not there for it.
        result: What `decode` gave.
    """

    version: str
    unseen: list[str]
    result: Result


def _decode_there(decode: Callable[[list[Sample]], Result], samples: list[Sample]) -> _Answer[Result]:
    """Runs on a worker."""
    paths = (str(sample.path) for sample in samples if isinstance(sample, ImageSample))
    return _Answer(__version__, [path for path in paths if not os.access(path, os.R_OK)], decode(samples))


def _anywhere(samples: list[Sample]) -> list[Sample]:
    """The same for a process in another folder."""
    return [
        replace(sample, path=Path(os.path.abspath(sample.path))) if isinstance(sample, ImageSample) else sample
        for sample in samples
    ]


def _version(cluster: Cluster, module: str) -> str:
    """Of a module on a worker, by a function that every Python has."""
    return str(cluster.submit(pkgutil.resolve_name, f"{module}:__version__").result())


def _check_version(cluster: Cluster, version: str) -> None:
    """Every answer is looked at: workers may join at any time."""
    if version != __version__:
        raise FastSketchError(f"{cluster.url}: a worker has fastsketch {version}, here it is {__version__}", hint=SAME)


def _check_seen(cluster: Cluster, unseen: list[str]) -> None:
    """What is there for us alone would be skipped, a whole data set of it; what is gone here too is skipped as ever."""
    for path in unseen:
        if os.access(path, os.R_OK):
            raise FastSketchError(
                f"{cluster.url}: the workers do not see {one_line(path)}",
                hint="let the sketches lie on a file system that all machines mount at the same place",
            )


# ----------------------------------------------------------------------------------------------------- any cluster


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
    hints = {
        "dask": "`dask scheduler` says its address when it starts",
        "ray": "the port is that of Ray's client server, by default 10001; ray:// alone is the Ray that runs here",
    }
    return FastSketchError(f"{url} does not answer ({_reason(error)})", hint=hints[url.partition("://")[0]])


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

    def start(function: Callable[..., Any], *arguments: Any) -> tuple[Future[Any], Callable[[], object]]:
        reference = call.remote(function, *arguments)
        return reference.future(), partial(_cancel, ray, reference)

    def explain(error: BaseException) -> FastSketchError | None:
        if isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.OutOfMemoryError):
            return _died(url)
        return _gone(url, error) if isinstance(error, OSError) or not ray.is_initialized() else None

    try:
        yield Cluster(url, start, lambda: int(ray.cluster_resources().get("CPU", 0)), explain)
    finally:
        if not there_before:
            ray.shutdown()


def _call(function: Callable[..., Result], *arguments: Any) -> Result:
    """Runs on a worker: one remote function of Ray's is enough for all."""
    return function(*arguments)


def _cancel(ray: Any, reference: Any) -> None:
    with suppress(Exception):  # it may be gone
        ray.cancel(reference)


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
