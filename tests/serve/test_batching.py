"""What is asked together is answered together; chores wait; nobody waits for long, and not too many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Event
from time import monotonic

import pytest

from fastsketch.serve import batching
from fastsketch.serve.batching import MOST_TOGETHER, MOST_WAITING, Batcher, Busy


def run(test: Callable[[Batcher[int, int], list[list[int]], Event], Awaitable[None]], held: bool = False) -> None:
    """Run a test with a batcher that squares, what it was given in each batch, and what lets it go on."""
    batches: list[list[int]] = []
    go = Event()
    if not held:
        go.set()

    def compute(questions: list[int]) -> list[int]:
        assert go.wait(10)
        batches.append(questions)
        if -1 in questions:
            raise ValueError("minus one")
        return [question**2 for question in questions]

    async def main() -> None:
        batcher = Batcher[int, int](compute)
        work = asyncio.create_task(batcher.work())
        try:
            await test(batcher, batches, go)
        finally:
            go.set()
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work

    asyncio.run(main())


def test_each_gets_its_own_answer_and_batches_are_bounded() -> None:
    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        count = 3 * MOST_TOGETHER
        assert await asyncio.gather(*map(batcher.ask, range(count))) == [number**2 for number in range(count)]
        assert [each for batch in batches for each in batch] == list(range(count))
        assert max(map(len, batches)) <= MOST_TOGETHER

    run(test)


def test_one_alone_does_not_wait_and_one_in_company_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PATIENCE", 60.0)

    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        began = monotonic()
        assert await batcher.ask(1) == 1
        with batcher.coming():
            first = asyncio.create_task(batcher.ask(2))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(batcher.ask(3))
            await asyncio.sleep(0.05)
            assert batches == [[1]]
        assert [await first, await second] == [4, 9]
        assert batches == [[1], [2, 3]]
        assert monotonic() - began < 30

    run(test)


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "PATIENCE", 0.02)

    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        with batcher.coming():
            assert await asyncio.wait_for(batcher.ask(3), 5) == 9

    run(test)


def test_chores_wait_until_nobody_asks() -> None:
    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        first = asyncio.create_task(batcher.ask(0))
        await asyncio.sleep(0.01)
        chore = asyncio.create_task(batcher.do(lambda: batches.append([-7]) or "done"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(batcher.ask(1))
        await asyncio.sleep(0.01)
        go.set()
        assert await chore == "done"
        await asyncio.gather(first, second)
        assert batches == [[0], [1], [-7]]

    run(test, held=True)


def test_too_many_are_sent_away() -> None:
    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        tasks = [asyncio.create_task(batcher.ask(0))]
        await asyncio.sleep(0.01)  # it is with the model now
        tasks += [asyncio.create_task(batcher.ask(number)) for number in range(1, MOST_WAITING + 1)]
        await asyncio.sleep(0.01)
        assert batcher.waiting == MOST_WAITING
        with pytest.raises(Busy):
            batcher.check_free()
        with pytest.raises(Busy):
            await batcher.ask(7)
        go.set()
        assert await asyncio.gather(*tasks) == [number**2 for number in range(MOST_WAITING + 1)]
        batcher.check_free()

    run(test, held=True)


def test_an_error_is_everybodys_and_the_last_one() -> None:
    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        first = asyncio.create_task(batcher.ask(5))
        await asyncio.sleep(0.01)
        both = [asyncio.create_task(batcher.ask(number)) for number in (-1, 2)]
        await asyncio.sleep(0.01)
        go.set()
        assert await first == 25
        for each in both:
            with pytest.raises(ValueError, match="minus one"):
                await each
        assert await batcher.ask(3) == 9
        with pytest.raises(ZeroDivisionError):
            await batcher.do(lambda: 1 / 0)
        assert await batcher.do(lambda: 1) == 1

    run(test, held=True)


def test_who_gave_up_is_not_computed_for() -> None:
    async def test(batcher: Batcher[int, int], batches: list[list[int]], go: Event) -> None:
        tasks = [asyncio.create_task(batcher.ask(number)) for number in range(4)]
        await asyncio.sleep(0.01)
        late = [asyncio.create_task(batcher.ask(number)) for number in (7, 8)]
        await asyncio.sleep(0.01)
        late[0].cancel()
        tasks[0].cancel()
        go.set()
        assert await late[1] == 64
        assert 7 not in [each for batch in batches for each in batch]

    run(test, held=True)
