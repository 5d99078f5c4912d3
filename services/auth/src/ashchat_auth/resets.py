"""Requested resets: `auth:reset:<id>` in Redis, for ten minutes."""

from typing import Final

from ashchat_auth.keys import TEMPORARY_TOKEN_MINUTES
from ashchat_auth.models import Reset
from ashchat_core.redis import Redis

LIFETIME_SECONDS: Final = TEMPORARY_TOKEN_MINUTES * 60


class RedisResets:
    """Stores which account a reset is for; one is stored for an unknown address, too."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, reset_id: str, reset: Reset) -> None:
        """Store a reset."""
        key, text = self._key(reset_id), reset.model_dump_json()
        await self._redis.client.set(key, text, ex=LIFETIME_SECONDS)

    async def get(self, reset_id: str) -> Reset | None:
        """Return a reset; None if it has expired or was used."""
        text = await self._redis.client.get(self._key(reset_id))
        return Reset.model_validate_json(text) if text else None

    async def drop(self, reset_id: str) -> None:
        """Delete a reset that was used."""
        await self._redis.client.delete(self._key(reset_id))

    def _key(self, reset_id: str) -> str:
        return self._redis.key(f"auth:reset:{reset_id}")
