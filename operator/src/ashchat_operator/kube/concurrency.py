"""Concurrent calls that end together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


async def gather_limited(
    function: Callable[[In], Awaitable[Out]], items: Iterable[In], limit: int
) -> list[Out]:
    """Call a function with each item concurrently, and return the results in their order.

    When one call fails the others are cancelled before the exception is raised, so nothing is
    written any more afterwards.

    Args:
        function: The function to call.
        items: Its arguments.
        limit: Maximum concurrent calls.

    Raises:
        Exception: The first exception that a call raised.
    """
    room = asyncio.Semaphore(limit)

    async def call(item: In) -> Out:
        async with room:
            return await function(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call(item)) for item in items]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
