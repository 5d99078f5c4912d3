"""Redis with credentials that may change while the service runs.

The library asks a `CredentialProvider` at every new connection, so a changed file is
used by the next connection; those that are open stay valid until the operator ends them.
"""

from urllib.parse import unquote, urlsplit

from redis import exceptions
from redis.asyncio import Redis as Client
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider

from ashchat_core.credentials import Credentials

TIMEOUT_SECONDS = 3.0

UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.AuthenticationError,
)
"""What the library raises when the server is away: answered with 503 and Retry-After."""


class _FileCredentials(CredentialProvider):
    def __init__(self, credentials: Credentials, file: str) -> None:
        self._credentials = credentials
        self._file = file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        parts = urlsplit(self._credentials.text(self._file))
        self._credentials.use("redis")
        return unquote(parts.username or "default"), unquote(parts.password or "")


class Redis:
    """The Redis of one service."""

    def __init__(self, credentials: Credentials, *, file: str = "redis.uri") -> None:
        parts = urlsplit(credentials.text(file))
        self._credentials = credentials
        self._file = file
        self.client = Client.from_pool(
            ConnectionPool(
                host=parts.hostname or "localhost",
                port=parts.port or 6379,
                credential_provider=_FileCredentials(credentials, file),
                decode_responses=True,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                health_check_interval=15,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
            )
        )
        """Strings in, strings out; reconnects by itself."""

    async def ping(self) -> None:
        """Ask for an answer that needs a login.

        Raises:
            redis.exceptions.RedisError: it did not give one.
        """
        await self.client.ping()

    async def watch(self) -> None:
        """Take new credentials into use at once when the file changes; until cancelled.

        Idle connections are dropped, so the next request opens one with the new login,
        which is the proof that it works.
        """

        async def changed() -> None:
            await self.client.connection_pool.disconnect(inuse_connections=False)

        await self._credentials.watch(self._file, changed)

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose()
