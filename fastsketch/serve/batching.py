"""One thread that computes: what is asked at the same time is answered together, and chores wait until nobody asks."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

Question = TypeVar("Question")
Found = TypeVar("Found")
Result = TypeVar("Result")

MOST_TOGETHER = 32
"""Questions that are answered together."""

MOST_WAITING = 128
"""Questions, or chores, that wait; who comes then is sent away."""

PATIENCE = 0.005
"""Seconds for which a question waits for others that are on their way."""


class Busy(Exception):
    """So many wait already that another one should come back later."""


@dataclass(frozen=True, slots=True)
class _Asked(Generic[Question, Found]):
    question: Question
    answer: asyncio.Future[Found]
    since: float


@dataclass(frozen=True, slots=True)
class _Chore:
    work: Callable[[], object]
    done: asyncio.Future[object]


class Batcher(Generic[Question, Found]):
    """Questions of many tasks to one function that takes a list of them, in a thread of its own.

    Args:
        compute: Questions → as many answers.
    """

    def __init__(self, compute: Callable[[list[Question]], list[Found]]) -> None:
        self._compute = compute
        self._asked: deque[_Asked[Question, Found]] = deque()
        self._chores: deque[_Chore] = deque()
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._coming = 0

    @property
    def waiting(self) -> int:
        """Questions that wait."""
        return len(self._asked)

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Around what makes a question: those that wait already wait for it a little longer."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._news.set()

    def check_free(self) -> None:
        """Make sure that one more can wait.

        Raises:
            Busy: It cannot.
        """
        if len(self._asked) + self._coming >= MOST_WAITING:
            raise Busy

    async def ask(self, question: Question) -> Found:
        """The answer.

        Raises:
            Busy: Too many wait.
            Exception: Whatever `compute` raised.
        """
        if len(self._asked) >= MOST_WAITING:
            raise Busy
        loop = asyncio.get_running_loop()
        asked: _Asked[Question, Found] = _Asked(question, loop.create_future(), loop.time())
        self._asked.append(asked)
        self._news.set()
        return await asked.answer

    async def do(self, work: Callable[[], Result]) -> Result:
        """The result of a chore, which comes when nobody asks; it should be a short one.

        Raises:
            Busy: Too many wait.
            Exception: Whatever the chore raised.
        """
        if len(self._chores) >= MOST_WAITING:
            raise Busy
        chore = _Chore(work, asyncio.get_running_loop().create_future())
        self._chores.append(chore)
        self._news.set()
        return await chore.done  # type: ignore[return-value]

    async def work(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._asked or self._chores:
                if self._asked:
                    await self._wait_for_others()
                    await self._answer([self._asked.popleft() for _ in range(min(MOST_TOGETHER, len(self._asked)))])
                else:
                    await self._do(self._chores.popleft())

    def close(self) -> None:
        """Let the thread end; nothing is asked any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_others(self) -> None:
        loop = asyncio.get_running_loop()
        latest = self._asked[0].since + PATIENCE
        while self._coming and len(self._asked) < MOST_TOGETHER and (left := latest - loop.time()) > 0:
            self._news.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)

    async def _answer(self, batch: list[_Asked[Question, Found]]) -> None:
        batch = [each for each in batch if not each.answer.done()]  # whoever gave up is not computed for
        if batch:
            questions = [each.question for each in batch]
            await self._settle([each.answer for each in batch], lambda: self._compute(questions))

    async def _do(self, chore: _Chore) -> None:
        if not chore.done.done():
            await self._settle([chore.done], lambda: [chore.work()])

    async def _settle(self, futures: list[asyncio.Future[Result]], work: Callable[[], list[Result]]) -> None:
        """Work in the thread, and give each future that still waits its result, or all of them the error."""
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, work)
            if len(results) != len(futures):
                raise RuntimeError(f"{len(results)} answers to {len(futures)} questions")
        except Exception as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result in zip(futures, results, strict=True):
            if not future.done():
                future.set_result(result)
