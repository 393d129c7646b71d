"""Image files by URL: those that are decoded together are fetched together, for each takes the network's time alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from fastsketch.conversion.gray import check_length
from fastsketch.sources.sample import ContentSample, ImageSample, Sample
from fastsketch.urls import look_up, read

AT_ONCE = 16
"""Requests of a worker: an object store answers one in some 30 ms, however small the file is."""

AHEAD = 1 << 27
"""Bytes that are fetched ahead, of one task; what is more comes one by one."""


def fetched(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples, with the content of those that are at URLs, as far as there is room for it.

    Raises:
        FastSketchError: One cannot be fetched. It was listed a moment ago: nothing is skipped because the network is
            gone, or the credentials.
    """
    small, room = [], AHEAD
    for each in samples:
        if isinstance(each, ImageSample) and each.bytes is not None and each.bytes <= room:
            small.append(each)
            room -= each.bytes
    if not small:
        return samples
    contents = dict(zip(small, _threads().map(content_at_url, small), strict=True))
    return [
        ContentSample(each.id, contents[each], each.split)
        if isinstance(each, ImageSample) and each in contents
        else each
        for each in samples
    ]


@cache
def _threads() -> ThreadPoolExecutor:
    """They live as long as the process: each may have a connection of its own."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch")


def content_at_url(sample: ImageSample) -> bytes:
    """What an image file at a URL holds.

    Raises:
        DecodeError: It is too large for an image that is decoded.
        DataError: It is not there, or refused.
        FastSketchError: It cannot be fetched now.
    """
    length = sample.bytes
    if length is None and (found := look_up(sample.path)):
        length = found.bytes
    check_length(length or 0)
    # By its length, so that what is cut off on the way is fetched again; an empty range would be refused.
    return b"" if length == 0 else read(sample.path, None if length is None else 0, length)
