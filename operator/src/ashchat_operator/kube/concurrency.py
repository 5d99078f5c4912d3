"""Several calls at a time, which end together."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


async def gather_limited(
    function: Callable[[In], Awaitable[Out]], items: Iterable[In], limit: int
) -> list[Out]:
    """Call a function with each item, and return what it returned, in their order.

    When one call fails the others are cancelled before it is told, so nothing is written any
    more once this has returned.

    Args:
        function: What is called.
        items: With what.
        limit: So many calls at a time.

    Raises:
        Exception: The first that a call raised.
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
