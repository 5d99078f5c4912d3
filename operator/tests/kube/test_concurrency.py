"""Concurrent calls: the order of results, the limit, and cancellation after a failure."""

import asyncio

import pytest

from ashchat_operator.kube.concurrency import gather_limited


async def test_results_come_in_the_order_of_the_items() -> None:
    first = asyncio.Event()

    async def call(item: int) -> int:
        if item == 2:
            first.set()
        await first.wait()
        return item * 10

    assert await gather_limited(call, [1, 2], 2) == [10, 20]


async def test_no_more_than_the_limit_run_at_a_time() -> None:
    running, most = 0, 0

    async def call(_: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    await gather_limited(call, range(20), 3)
    assert most == 3


async def test_one_failure_cancels_all_before_it_is_raised() -> None:
    ended: list[int] = []

    async def call(item: int) -> None:
        if item == 1:
            raise LookupError("one")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(LookupError, match="one"):
        await gather_limited(call, [0, 1, 2], 3)
    assert 0 in ended
    assert len(asyncio.all_tasks()) == 1
