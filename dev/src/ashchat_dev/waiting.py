"""Awaiting a condition instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(
    probe: Callable[[], Awaitable[T | None]],
    *,
    within: float = ...,
    what: str = ...,
    every: float = ...,
    ignoring: tuple[type[Exception], ...] = ...,
) -> T: ...


@overload
async def until(
    probe: Callable[[], T | None],
    *,
    within: float = ...,
    what: str = ...,
    every: float = ...,
    ignoring: tuple[type[Exception], ...] = ...,
) -> T: ...


async def until(
    probe: Callable[[], object],
    *,
    within: float = 30.0,
    what: str = "the condition",
    every: float = 0.25,
    ignoring: tuple[type[Exception], ...] = (),
) -> object:
    """Return the probe's first truthy value.

    Args:
        probe: Synchronous or asynchronous, cheap, without side effects.
        within: Seconds until the failure.
        what: What is awaited, for the message.
        every: Seconds between two tries.
        ignoring: Exceptions that mean "not yet".

    Raises:
        AssertionError: It did not come; the message has the last value or exception.
    """
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            value = probe()
            result = await value if inspect.isawaitable(value) else value
        except ignoring as error:
            last = error
        else:
            if result:
                return result
            last = result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} s; last seen: {last!r}")
        await asyncio.sleep(every)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run something as long as the context is open."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
