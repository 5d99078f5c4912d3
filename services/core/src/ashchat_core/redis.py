"""Redis with credentials that may change while the service runs.

The library asks a `CredentialProvider` at every new connection. A changed file is tried
first; once its login works, new connections use it, idle ones are dropped, and those in
use are replaced when what they do has ended. Another address needs a restart: subscriptions
would stay with the old server.

`rediss://` means TLS, verified by the authority in `redis-ca.pem` beside the address where
there is one, else by the public ones.
"""

import asyncio
import contextlib
import ssl
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import structlog
from redis import exceptions
from redis.asyncio import Redis as Client
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.credentials import CredentialProvider

from ashchat_core.credentials import Credential, Credentials

TIMEOUT_SECONDS = 3.0
CONNECT_SECONDS = 1.0
LEAVING_POLL_SECONDS = 0.2
RETRIES = 2
"""Together with both times: a command on a Redis that is away fails within about five
seconds, so that whoever waits for it gets a 503 while they still wait."""

UNAVAILABLE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.AuthenticationError,
    # What answers there is no Redis: a proxy, or whoever has the address while it is away.
    exceptions.InvalidResponse,
)
"""What the library raises when the server is away: answered with 503 and Retry-After."""


CA_FILE = "redis-ca.pem"  # beside redis.uri


class TlsConnection(SSLConnection):
    """Trusts the authority it is given and no other, and reads it anew for each connection."""

    def _connection_arguments(self) -> dict[str, Any]:
        arguments = dict(Connection._connection_arguments(self))  # noqa: SLF001
        given = self.ssl_context
        trust = ssl.create_default_context(cafile=given.ca_certs, cadata=given.ca_data)
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
        """Return the same; the library warns without it."""
        return self.get_credentials()


class Redis:
    """The Redis of one service."""

    def __init__(self, credentials: Credentials, *, file: str = "redis.uri") -> None:
        self._credentials = credentials
        self._file = file
        self._login = _Login(credentials.read(file))
        self._log = structlog.get_logger("redis")
        self._leaving: set[asyncio.Task[None]] = set()
        self.client = self._connect(self._login)
        """Strings in, strings out; reconnects by itself."""

        self._prefix = parse_qs(urlsplit(self._login.credential.text).query).get("prefix", [""])[0]

    def key(self, name: str) -> str:
        """Return the name of a key or channel, as this server knows it.

        On a server that several AshChats share, everybody's names begin otherwise; on one of
        our own they are what they are.
        """
        return self._prefix + name

    def bare(self, name: str) -> str:
        """Return the name of a key or channel without what `key` put before it."""
        return name.removeprefix(self._prefix)

    async def ping(self) -> None:
        """Ask for an answer that needs a login.

        Raises:
            redis.exceptions.RedisError: it did not give one.
        """
        await self.client.ping()
        self._credentials.use("redis", self._login.credential.revision)

    async def swap(self) -> None:
        """Change to the credentials that lie in the folder now, if they work.

        Raises:
            redis.exceptions.RedisError: they do not; the old ones stay in use.
        """
        login = _Login(self._credentials.read(self._file))
        trial = self._connect(login)
        try:
            await trial.ping()
        except exceptions.RedisError as error:
            self._log.warning(
                "new credentials do not work yet; the old stay", error=type(error).__name__
            )
            raise
        finally:
            await trial.aclose()
        former, self._login.credential = self._login.credential, login.credential
        self._credentials.hold("redis", former.revision)
        pool: Any = self.client.connection_pool  # parts of it have no types
        await pool.disconnect(inuse_connections=False)
        await pool.update_active_connections_for_reconnect()
        self._credentials.use("redis", login.credential.revision)
        task = asyncio.create_task(self._let_go(former.revision))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _let_go(self, revision: str) -> None:
        """Report the former login until the last connection in use has changed over."""
        pool: Any = self.client.connection_pool
        try:
            busy = list(pool._in_use_connections)  # noqa: SLF001 (nothing public tells)
            while any(one.should_reconnect() for one in busy):  # noqa: ASYNC110 (nothing tells)
                await asyncio.sleep(LEAVING_POLL_SECONDS)
        finally:
            self._credentials.release("redis", revision)

    async def watch(self) -> None:
        """Prove the first credentials, then swap whenever the file changes; until cancelled."""
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
        """Return once the credentials read at the start work, or those that came after them."""
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
            ca = str(self._credentials.path(CA_FILE)) if self._credentials.has(CA_FILE) else None
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
