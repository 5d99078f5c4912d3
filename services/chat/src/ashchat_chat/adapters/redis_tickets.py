"""Remembers in Redis which tickets for sockets were used, so that each opens one socket."""

from typing import Final

from redis.exceptions import RedisError

from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_core.clocks import CLOCK_SKEW_SECONDS
from ashchat_core.redis import Redis
from ashchat_core.tokens import SOCKET_TICKET_SECONDS

TICKET_PREFIX: Final = "chat:ticket:"
REMEMBER_SECONDS: Final = SOCKET_TICKET_SECONDS + 2 * CLOCK_SKEW_SECONDS + 1
"""As long as a ticket may be valid for any pod."""


class RedisUsedTickets:
    """The used tickets of all pods."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def use(self, ticket_id: str) -> bool:
        """Return whether this is the ticket's first use.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """
        key = self._redis.key(TICKET_PREFIX + ticket_id)
        try:
            return bool(await self._redis.client.set(key, 1, nx=True, ex=int(REMEMBER_SECONDS)))
        except (RedisError, OSError) as error:
            raise StoreUnavailableError from error
