"""Decoding on a cluster that exists already: Dask's or Ray's.

The driver lists, appends and keeps the journal as it does with processes of its own, and a cluster decodes the same
chunks: where that happens, and how often a worker dies of it, decides no byte.
"""

from __future__ import annotations

import logging
import os
import pkgutil
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeGuard, TypeVar

import PIL

from fastsketch.conversion.executors import SAME, Cluster, open_cluster
from fastsketch.errors import FastSketchError, one_line
from fastsketch.sources.sample import ImageSample, Sample
from fastsketch.urls import url_of
from fastsketch.version import __version__
from fastsketch.workers import AHEAD, in_order

log = logging.getLogger(__name__)

CHUNKS = 4
"""So many times the samples of a pool's task: with 32 a task, Dask took 0.35 ms of CPU for a drawing of 32 px, with 128
0.25."""

AHEAD_PIXELS = 1 << 30
"""Of all results under way, however many workers there are: they may all lie here and wait for an earlier one."""

Key = TypeVar("Key")
Result = TypeVar("Result")


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
    with open_cluster(url) as cluster:
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
    paths = [str(sample.path) for sample in samples if _is_on_disk(sample)]
    return _Answer(__version__, [path for path in paths if not os.access(path, os.R_OK)], decode(samples))


def _anywhere(samples: list[Sample]) -> list[Sample]:
    """The same for a process in another folder."""
    return [
        replace(sample, path=Path(os.path.abspath(sample.path))) if _is_on_disk(sample) else sample
        for sample in samples
    ]


def _is_on_disk(sample: Sample) -> TypeGuard[ImageSample]:
    """Whether it is an image file that a worker has to see as we do; a URL is the same from anywhere."""
    return isinstance(sample, ImageSample) and url_of(sample.path) is None


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
