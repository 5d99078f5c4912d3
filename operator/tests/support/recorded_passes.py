"""A reconcile function that records its calls."""

import asyncio

from ashchat_operator.kube.errors import ApiServerError


class RecordedPasses:
    """Records each call, and returns `again` as the seconds until the next pass."""

    def __init__(self, again: float = 60.0) -> None:
        self.again = again
        self.seen: list[str] = []
        self.failures = 0
        self._changed = asyncio.Condition()

    async def __call__(self, namespace: str, name: str) -> float:
        async with self._changed:
            self.seen.append(f"{namespace}/{name}")
            self._changed.notify_all()
        if self.failures:
            self.failures -= 1
            raise ApiServerError(500, "try again")
        return self.again

    async def number(self, wanted: int) -> None:
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.seen) >= wanted)
