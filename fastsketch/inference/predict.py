"""Inputs → rows: worker processes decode ahead while the model looks at what they have decoded."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastsketch.conversion.decode import DecodeError, Reading
from fastsketch.errors import FastSketchError
from fastsketch.inference.inputs import Input, StoredSample, read_input
from fastsketch.inference.rows import Row
from fastsketch.inference.saved import SavedModel
from fastsketch.workers import available_cpus, map_ahead

log = logging.getLogger(__name__)

CHUNK = 64
"""Samples a task, which the model is then shown at once."""

CHUNK_PIXELS = 1 << 25
"""Of a task's images, however large they are."""


class Decoded(NamedTuple):
    """A few inputs, read.

    Attributes:
        images: By how they were read, uint8 [m, 1, S, S] of the m that could be read.
        failures: Position among all → reason.
        looks: How many look inverted, and how many to be on gray paper.
    """

    images: dict[Reading, npt.NDArray[np.uint8]]
    failures: dict[int, str]
    looks: tuple[int, int]


def predict(
    models: Sequence[SavedModel],
    inputs: Iterable[Input],
    *,
    topk: int = 5,
    device: str = "auto",
    flip: bool | None = None,
    workers: int = 0,
) -> Generator[list[tuple[Input, Row]], None, None]:
    """What models, asked together, say of each input.

    Of the inputs a bounded number is in memory. Torch is imported while the first of them are decoded.

    Args:
        models: Of the same classes.
        inputs: What is to be looked at.
        topk: So many classes of each; all, where there are fewer.
        device: Where the models compute.
        flip: Take the mean with the mirror image's probabilities; None is what each recipe says.
        workers: Decoding processes; 0 means one for each available core, and none for a few inputs.

    Yields:
        A few inputs with their rows, in order. What cannot be read has a row with the reason.

    Raises:
        ConfigError: There is no such device.
        DataError: A model is damaged.
        FastSketchError: A decoding process was killed.
    """
    readings = tuple(dict.fromkeys(model.reading for model in models))
    with closing(read_ahead(inputs, readings, workers)) as read:  # an error's traceback would keep its processes
        yield from _answered(read, models, topk=topk, device=device, flip=flip)


def _answered(
    read: Iterator[tuple[list[Input], Decoded]],
    models: Sequence[SavedModel],
    *,
    topk: int,
    device: str,
    flip: bool | None,
) -> Iterator[list[tuple[Input, Row]]]:
    """Show the model what was read; torch is imported for the first of it."""
    first = next(read, None)
    if first is None:
        return

    import torch  # from here on there is something to show to a model

    from fastsketch.inference.classifier import Classifier, check_topk

    check_topk(topk)
    classifier = Classifier.of(models, device=device, flip=flip)
    inverted = gray = 0
    for samples, decoded in chain([first], read):
        inverted, gray = inverted + decoded.looks[0], gray + decoded.looks[1]
        images = {reading: torch.from_numpy(batch) for reading, batch in decoded.images.items()}
        seen = len(samples) > len(decoded.failures)
        predictions = iter(classifier.ranked(classifier.probabilities(images), topk) if seen else ())
        yield [
            (sample, Row.unread(sample.id, reason) if reason else Row.of(sample.id, next(predictions)))
            for sample, reason in ((each, decoded.failures.get(place)) for place, each in enumerate(samples))
        ]
    for count, look, option in ((inverted, "light on dark", "invert auto"), (gray, "photographed", "clean-photo")):
        if count:
            log.info("%d inputs look %s: --%s reads them as drawings", count, look, option)


def read_ahead(
    inputs: Iterable[Input], readings: tuple[Reading, ...], workers: int
) -> Generator[tuple[list[Input], Decoded], None, None]:
    """Read the inputs in order, chunk by chunk, ahead of who asks for them."""
    size = max(1, min(CHUNK, CHUNK_PIXELS // max(reading.size**2 for reading in readings)))
    remaining = iter(inputs)
    chunks = iter(lambda: list(islice(remaining, size)), [])
    beginning = list(islice(chunks, 2))
    # A process takes as long to start as some dozens of sketches to decode; stored ones need no decoding.
    if workers == 0 and (len(beginning) < 2 or isinstance(beginning[0][0], StoredSample)):
        workers = 1
    tasks = ((samples, samples) for samples in chain(beginning, chunks))
    try:
        yield from map_ahead(partial(read_chunk, readings=readings), tasks, workers or available_cpus())
    except BrokenProcessPool as error:
        raise FastSketchError(
            "a decoding process was killed, most likely for want of memory", hint="try it with --workers 1"
        ) from error


def read_chunk(samples: Sequence[Input], readings: tuple[Reading, ...]) -> Decoded:
    """Read a few inputs in every way that is asked for; what fails in one has failed. Runs in a worker process."""
    images: dict[Reading, list[npt.NDArray[np.uint8]]] = {reading: [] for reading in readings}
    failures: dict[int, str] = {}
    looks = [0, 0]
    for place, sample in enumerate(samples):
        try:
            each = [read_input(sample, reading) for reading in readings]
        except DecodeError as error:
            failures[place] = str(error)
            continue
        for reading, (image, _) in zip(readings, each, strict=True):
            images[reading].append(image)
        looks = [count + look for count, look in zip(looks, each[0][1], strict=True)]
    shape = {reading: (-1, 1, reading.size, reading.size) for reading in readings}
    stacked = {key: np.array(found, np.uint8).reshape(shape[key]) for key, found in images.items()}
    return Decoded(stacked, failures, (looks[0], looks[1]))
