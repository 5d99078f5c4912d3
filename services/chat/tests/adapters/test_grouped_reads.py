"""Grouped reads: few queries for many callers, and never an answer from before the question."""

import asyncio
from collections.abc import Mapping, Sequence

from ashchat_chat.adapters.grouped_reads import GroupedReads


class Values:
    """A store that answers when it is let."""

    def __init__(self) -> None:
        self.values = {"a": 1, "b": 2}
        self.asked: list[list[str]] = []
        self.let = asyncio.Event()
        self.fails = False

    async def read(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.asked.append(sorted(keys))
        found = {key: self.values[key] for key in keys if key in self.values}
        await self.let.wait()
        if self.fails:
            raise OSError
        return found


async def test_a_lone_key_is_read_at_once_and_the_next_ones_together() -> None:
    values = Values()
    reads = GroupedReads(values.read, largest=100)
    first = asyncio.create_task(reads.get("a"))
    for _ in range(3):
        await asyncio.sleep(0)
    rest = [asyncio.create_task(reads.get(key)) for key in ["a", "b", "c"] * 1_000]
    await asyncio.sleep(0)
    values.let.set()
    assert await first == 1
    assert await asyncio.gather(*rest) == [1, 2, None] * 1_000
    assert values.asked == [["a"], ["a", "b", "c"]]


async def test_a_caller_sees_what_was_written_before_it_asked() -> None:
    values = Values()
    reads = GroupedReads(values.read, largest=100)
    first = asyncio.create_task(reads.get("a"))
    for _ in range(3):
        await asyncio.sleep(0)
    values.values["a"] = 9
    second = asyncio.create_task(reads.get("a"))
    await asyncio.sleep(0)
    values.let.set()
    assert (await first, await second) == (1, 9)


async def test_groups_are_bounded() -> None:
    values = Values()
    values.let.set()
    reads = GroupedReads(values.read, largest=2)
    await asyncio.gather(*(reads.get(str(number)) for number in range(5)))
    assert [len(keys) for keys in values.asked] == [2, 2, 1]


async def test_a_failure_is_every_callers_and_a_cancellation_its_own() -> None:
    values = Values()
    reads = GroupedReads(values.read, largest=100)
    callers = [asyncio.create_task(reads.get("a")) for _ in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
    callers[0].cancel()
    values.fails = True
    values.let.set()
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(one) for one in outcomes] == [asyncio.CancelledError, OSError, OSError]
    values.fails = False
    assert await reads.get("b") == 2
