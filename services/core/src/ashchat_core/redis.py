"""Redis with credentials that may change while the service runs.

The library asks a `CredentialProvider` for every new connection. A changed file is tested
first; once its login works, new connections use it, idle ones are closed, and connections in
use are replaced when they become idle. Another address requires a restart, because
subscriptions would stay with the old server.

`rediss://` means TLS, verified with the authority in `redis-ca.pem` (or `counters-ca.pem`) next to
the address or, if that is absent, with the public authorities.
"""

import asyncio
import contextlib
import ssl
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import structlog
from redis import exceptions
from redis.asyncio import Redis as Client
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider

from ashchat_core.credentials import Credential, Credentials

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 1.0
LEAVING_POLL_SECONDS: Final = 0.2
RETRIES: Final = 2
"""Maximum retries of a command. With both timeouts, a command on an unavailable Redis fails
within about five seconds, so that the client gets 503 before it gives up."""

UNAVAILABLE: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.AuthenticationError,
    # The server is not Redis: a proxy, or another process with its address.
    exceptions.InvalidResponse,
)
"""Errors of the library if the server is unavailable; requests get 503 with Retry-After."""


class TlsConnection(SSLConnection):
    """Trusts the configured authority only, and reads it again for each connection."""

    def _connection_arguments(self) -> dict[str, Any]:
        arguments = dict(Connection._connection_arguments(self))  # noqa: SLF001
        configured = self.ssl_context
        trust = ssl.create_default_context(cafile=configured.ca_certs, cadata=configured.ca_data)
        return {**arguments, "ssl": trust}


class _Login(CredentialProvider):
    """The login for the next connection."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return user name and password."""
        parts = urlsplit(self.credential.text)
        return unquote(parts.username or "default"), unquote(parts.password or "")

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return the same; the library warns if this is missing."""
        return self.get_credentials()


class Redis:
    """A Redis of one service.

    Args:
        credentials: The folder of credentials.
        credential: The name of the credential: `redis` is in `redis.uri`.
    """

    def __init__(self, credentials: Credentials, credential: str = "redis") -> None:
        self._credentials = credentials
        self._credential = credential
        self._file = f"{credential}.uri"
        self._login = _Login(credentials.read(self._file))
        self._log = structlog.get_logger("redis")
        self._leaving: set[asyncio.Task[None]] = set()
        self.client = self._connect(self._login)
        """Strings in, strings out; reconnects by itself."""

        self._prefix = parse_qs(urlsplit(self._login.credential.text).query).get("prefix", [""])[0]

    def key(self, name: str) -> str:
        """Return the name of a key or channel on this server.

        On a server that several AshChats share, the names of each have a prefix; on a dedicated
        server there is none.
        """
        return self._prefix + name

    def bare(self, name: str) -> str:
        """Return the name of a key or channel without the prefix that `key` added."""
        return name.removeprefix(self._prefix)

    async def ping(self) -> None:
        """Send a command that requires a login.

        Raises:
            redis.exceptions.RedisError: it failed.
        """
        await self.client.ping()
        self._credentials.use(self._credential, self._login.credential.revision)

    async def swap(self) -> None:
        """Switch to the credentials that are in the folder now, if they work.

        Raises:
            redis.exceptions.RedisError: they do not; the old ones stay in use.
        """
        login = _Login(self._credentials.read(self._file))
        trial = self._connect(login)
        try:
            await trial.ping()
        except exceptions.RedisError as error:
            self._log.warning(
                "the new credentials do not work yet; the old ones stay in use",
                error=type(error).__name__,
            )
            raise
        finally:
            await trial.aclose()
        former, self._login.credential = self._login.credential, login.credential
        self._credentials.hold(self._credential, former.revision)
        pool: Any = self.client.connection_pool  # parts of it have no types
        await pool.disconnect(inuse_connections=False)
        await pool.update_active_connections_for_reconnect()
        self._credentials.use(self._credential, login.credential.revision)
        task = asyncio.create_task(self._let_go(former.revision))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _let_go(self, revision: str) -> None:
        """Report the previous login until the last connection in use has been replaced."""
        pool: Any = self.client.connection_pool
        try:
            busy = list(pool._in_use_connections)  # noqa: SLF001 (there is no public way)
            while any(one.should_reconnect() for one in busy):  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(LEAVING_POLL_SECONDS)
        finally:
            self._credentials.release(self._credential, revision)

    async def watch(self) -> None:
        """Test the first credentials, then swap whenever the file changes; until cancelled."""
        await self._prove()

        async def changed() -> None:
            while True:
                try:
                    await self.swap()
                except exceptions.RedisError:
                    await asyncio.sleep(TIMEOUT_SECONDS)
                else:
                    return

        await self._credentials.watch(self._file, changed, used=self._login.credential)

    async def _prove(self) -> None:
        """Return once the credentials read at the start, or later ones, work."""
        while True:
            for attempt in (self.ping, self.swap):
                with contextlib.suppress(exceptions.RedisError):
                    await attempt()
                    return
            await asyncio.sleep(TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Close every connection."""
        for task in list(self._leaving):
            task.cancel()
        await self.client.aclose()

    def _connect(self, login: _Login) -> Client:
        parts = urlsplit(login.credential.text)
        encryption: dict[str, Any] = {}
        if parts.scheme == "rediss":
            file = f"{self._credential}-ca.pem"
            ca = str(self._credentials.path(file)) if self._credentials.has(file) else None
            encryption = {"connection_class": TlsConnection, "ssl_ca_certs": ca}
        return Client.from_pool(
            ConnectionPool(
                host=parts.hostname or "localhost",
                port=parts.port or 6379,
                credential_provider=login,
                decode_responses=True,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=CONNECT_SECONDS,
                health_check_interval=15,
                retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES),
                **encryption,
            )
        )
