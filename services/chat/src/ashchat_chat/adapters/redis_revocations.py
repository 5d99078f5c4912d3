"""The log of ended sessions in Redis."""

import time
from collections.abc import Sequence
from typing import Any

from ashchat_chat.users.revocations import Over
from ashchat_core.redis import Redis

REVOKED_KEY = "chat:revoked"
REVOKED_PAGE = 1_000
REVOKED_WAIT_MS = 2_000
"""How long one read waits for something new: less than the client's time-out."""


class RedisRevocationLog:
    """A stream that all pods follow (https://redis.io/docs/latest/develop/data-types/streams/).

    Entries go when no access token of what they name can live any more.
    """

    def __init__(self, redis: Redis, *, keep_seconds: float) -> None:
        self._redis = redis
        self._key = redis.key(REVOKED_KEY)
        self._keep = keep_seconds

    async def add(self, over: Sequence[Over]) -> None:
        """Write; return when it is written.

        Raises:
            RedisError: Redis is away; it may be written.
        """
        oldest = int((time.time() - self._keep) * 1000)
        async with self._redis.client.pipeline(transaction=False) as pipeline:
            for one in over:
                pipeline.execute_command(
                    "XADD", self._key, "MINID", "~", oldest, "*", "kind", one.kind, "name",
                    one.name, "below", one.below, "but", one.but,
                )  # fmt: skip
            pipeline.execute_command("EXPIRE", self._key, int(self._keep) + 1)
            await pipeline.execute()

    async def after(self, cursor: str, *, wait: bool) -> tuple[str, list[Over]]:
        """Return what was written after a cursor, and the cursor behind it; at most a page.

        Raises:
            RedisError: Redis is away.
        """
        found: Any = await self._redis.client.xread(
            {self._key: cursor}, count=REVOKED_PAGE, block=REVOKED_WAIT_MS if wait else None
        )
        entries = found[0][1] if found else []
        return (
            entries[-1][0] if entries else cursor,
            # What a newer version writes of another kind names nobody that this one meets.
            [
                Over(
                    what.get("kind", ""),
                    what.get("name", ""),
                    int(what.get("below", 0)),
                    what.get("but", ""),
                )
                for _, what in entries
            ],
        )
