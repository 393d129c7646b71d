"""What is answered, path by path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from anyio import fail_after
from pydantic import BaseModel
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fastsketch.inference.classifier import Classifier
from fastsketch.serve import openapi, page_files
from fastsketch.serve.batching import Batcher, Busy
from fastsketch.serve.bodies import MOST_BYTES, Pixels, Refused, reader_of
from fastsketch.serve.gallery import Gallery
from fastsketch.serve.keep import Keeper
from fastsketch.serve.schema import MOST_CLASSES, Answer, Health, ModelInfo, Neighbours
from fastsketch.serve.sight import sight_of
from fastsketch.version import __version__
from fastsketch.workers import available_cpus

MOST_BYTES_AT_ONCE = 64 << 20
"""Of all large bodies that are being read or decoded."""

SMALL = 64 << 10
"""Bytes of a body that is read however many large ones there are: a drawing's."""

BODY_SECONDS = 10.0
"""For which a body may take to come."""

NEIGHBOURS = 3
"""Training sketches of a class."""


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        classifier: Who answers; the first of its members shows what it sees.
        name: timm's of the first model.
        gallery: Of that member's training sketches; None where they are not there.
        keeper: What keeps what was drawn; None for nothing.
        token: See `Guard`.
        origins: Likewise.
        loopback: Likewise.
    """

    classifier: Classifier
    name: str
    gallery: Gallery | None = None
    keeper: Keeper | None = None
    token: str | None = None
    origins: Sequence[str] = ()
    loopback: bool = True


class API:
    """The answers; each raises `Refused` or `Busy` instead of one."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._classifier = served.classifier
        self.batcher = Batcher[Pixels, torch.Tensor](partial(_probabilities, served.classifier))
        # Of its own: a thread whose request was given up is busy nevertheless, and no other takes its place.
        self.decoding = ThreadPoolExecutor(available_cpus(), "decode")
        self.held_bytes = 0
        self._page = page_files.served()
        self._openapi = openapi.document()

    async def predict(self, request: Request) -> Response:
        """`schema.Answer`."""
        topk, sight = _topk(request), _flag(request, "sight")
        pixels, keeping = await self._pixels(request)
        [found] = self._classifier.ranked((await self.batcher.ask(pixels))[None], topk)
        answer = Answer(labels=[*found.labels], probabilities=[*found.probabilities], ids=[*found.ids])
        if sight:
            member = self._classifier.members[0]
            answer.sight = await self._in_thread(partial(sight_of, member, pixels[member.reading]))
        return _json(answer, keeping)

    async def neighbours(self, request: Request) -> Response:
        """`schema.Neighbours`."""
        gallery, topk = self._served.gallery, _topk(request, MOST_CLASSES)
        if gallery is None:
            raise Refused(404, "there are no training sketches to compare with")
        pixels, keeping = await self._pixels(request)
        [found] = self._classifier.ranked((await self.batcher.ask(pixels))[None], topk)
        image = pixels[self._classifier.members[0].reading]
        nearest = await gallery.nearest(image, found.ids, NEIGHBOURS, self.batcher.do)
        return _json(Neighbours(neighbours=nearest), keeping)

    async def model(self, request: Request) -> Response:
        """`schema.ModelInfo`."""
        return _json(
            ModelInfo(
                model=self._served.name,
                classes=self._classifier.classes,
                size=self._classifier.members[0].reading.size,
                gallery=self._served.gallery is not None,
                keeps=self._served.keeper is not None,
                version=__version__,
            )
        )

    async def health(self, request: Request) -> Response:
        """`schema.Health`."""
        return _json(Health(waiting=self.batcher.waiting))

    async def openapi(self, request: Request) -> Response:
        """The OpenAPI document."""
        return JSONResponse(self._openapi)

    async def page(self, request: Request) -> Response:
        """A file of the page."""
        name = request.path_params.get("name", "index.html")
        if name not in self._page:
            raise HTTPException(404)
        return Response(self._page[name], media_type=page_files.MEDIA_TYPES[PurePath(name).suffix])

    async def _pixels(self, request: Request) -> tuple[Pixels, BackgroundTask | None]:
        """What the models are shown of a request's body, and what is to be done with it after the answer."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        read, draft = reader_of(media_type), _flag(request, "draft")
        self.batcher.check_free()
        async with self._body(request) as body:
            self.batcher.check_free()
            with self.batcher.coming():
                pixels: Pixels = await self._in_thread(partial(read, body, self._classifier.readings))
        if (keeper := self._served.keeper) is None or draft:
            return pixels, None
        return pixels, BackgroundTask(keeper.keep, body, media_type)

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """All of a body; of this one, and of all large ones at the same time, no more than the bounds allow."""
        body, counted = bytearray(), 0
        try:
            try:
                with fail_after(BODY_SECONDS):
                    async for part in request.stream():
                        body += part
                        if len(body) > MOST_BYTES:
                            raise Refused(413, "too large a body", f"at most {MOST_BYTES >> 20} MiB")
                        more = max(0, len(body) - SMALL) - counted
                        if more and self.held_bytes + more > MOST_BYTES_AT_ONCE:
                            raise Busy
                        counted += more
                        self.held_bytes += more
            except TimeoutError as error:
                raise Refused(408, "the body did not come") from error
            yield bytes(body)
        finally:
            self.held_bytes -= counted

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.decoding, work)


def _probabilities(classifier: Classifier, questions: list[Pixels]) -> list[torch.Tensor]:
    stacked = {
        reading: torch.from_numpy(np.stack([pixels[reading] for pixels in questions])[:, None])
        for reading in classifier.readings
    }
    return [*classifier.probabilities(stacked)]


def _topk(request: Request, most: int = 10**6) -> int:
    text = request.query_params.get("topk", "5")
    if not (text.isdecimal() and len(text) < 8 and 0 < int(text) <= most):
        raise Refused(422, f"topk is a number from 1 to {most:,}")
    return int(text)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "0").lower()
    if text not in ("0", "1", "false", "true"):
        raise Refused(422, f"{name} is 0 or 1")
    return text in ("1", "true")


def _json(answer: BaseModel, background: BackgroundTask | None = None) -> Response:
    content = answer.model_dump_json(exclude_none=True)
    return Response(content, media_type="application/json", background=background)
