"""Group commit: who waits together is written together, and each caller gets its own outcome."""

import asyncio
from collections.abc import Sequence

import pytest

from ashchat_chat.adapters.batches import Batches, TooManyWaitingError


class Slow:
    """Writes when it is let: records the batches, and refuses odd numbers."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let = asyncio.Event()
        self.running = 0
        self.most_running = 0

    async def write(self, items: Sequence[int]) -> list[Exception | None]:
        self.batches.append(list(items))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await self.let.wait()
        self.running -= 1
        return [ValueError(item) if item % 2 else None for item in items]


async def test_a_lone_item_is_written_at_once_and_the_next_ones_together() -> None:
    slow = Slow()
    batches = Batches(slow.write, largest=100, writers=1, waiting=100)
    puts = [asyncio.create_task(batches.put(0))]
    await asyncio.sleep(0)
    puts += [asyncio.create_task(batches.put(number)) for number in range(1, 6)]
    await asyncio.sleep(0)
    assert slow.batches == [[0]]
    slow.let.set()
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert slow.batches == [[0], [1, 2, 3, 4, 5]]
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError] * 3
    assert [outcome.args for outcome in outcomes if outcome] == [(1,), (3,), (5,)]


async def test_writers_and_batches_are_bounded() -> None:
    slow = Slow()
    batches = Batches(slow.write, largest=3, writers=2, waiting=20)
    puts = [asyncio.create_task(batches.put(2 * number)) for number in range(20)]
    for _ in range(3):
        await asyncio.sleep(0)
    slow.let.set()
    await asyncio.gather(*puts)
    assert slow.most_running == 2
    assert max(map(len, slow.batches)) == 3
    assert sorted(item for batch in slow.batches for item in batch) == [*range(0, 40, 2)]


async def test_what_does_not_fit_is_refused_and_not_written() -> None:
    slow = Slow()
    batches = Batches(slow.write, largest=1, writers=1, waiting=2)
    puts = [asyncio.create_task(batches.put(0))]
    await asyncio.sleep(0)
    puts += [asyncio.create_task(batches.put(number)) for number in (2, 4)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaitingError):
        await batches.put(6)
    slow.let.set()
    await asyncio.gather(*puts)
    assert slow.batches == [[0], [2], [4]]


async def test_a_failed_write_is_every_callers_and_the_next_one_goes_on() -> None:
    fails = iter([True, False])

    async def write(items: Sequence[int]) -> list[Exception | None]:
        await asyncio.sleep(0)
        if next(fails):
            raise OSError
        return [None] * len(items)

    batches = Batches(write, largest=10, writers=1, waiting=10)
    outcomes = await asyncio.gather(*map(batches.put, range(3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [OSError] * 3
    await batches.put(4)


async def test_a_cancelled_caller_neither_stops_nor_loses_the_write() -> None:
    slow = Slow()
    batches = Batches(slow.write, largest=10, writers=1, waiting=10)
    first, second = (asyncio.create_task(batches.put(number)) for number in (0, 2))
    await asyncio.sleep(0)
    third = asyncio.create_task(batches.put(4))
    await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    slow.let.set()
    await second
    await asyncio.sleep(0)
    assert [item for batch in slow.batches for item in batch] == [0, 2, 4]
