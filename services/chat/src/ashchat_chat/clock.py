"""The clock of deadlines and limits."""

import asyncio


def monotonic() -> float:
    """Return the event loop's time, in seconds."""
    return asyncio.get_running_loop().time()
