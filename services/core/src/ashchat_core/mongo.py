"""MongoDB with credentials that may change while the service runs.

A changed password requires a new client: the new one is created and tested first, then it
replaces the old one, which is closed once its operations have had time to end.

`tls=true` in the address means TLS, verified with the authority in `mongodb-ca.pem` next to the
address or, if that is absent, with the public authorities.
"""

import asyncio
import contextlib
from typing import Any, Final

import structlog
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
)

from ashchat_core.credentials import Credential, Credentials

SERVER_SELECTION_SECONDS: Final = 3.0
"""How long one request waits for a server before it gets 503."""

DRAIN_SECONDS: Final = 30.0
"""How long the old client stays open after it was replaced."""

CA_FILE: Final = "mongodb-ca.pem"  # next to mongodb.uri

Database = AsyncDatabase[dict[str, Any]]

UNAVAILABLE: Final = (
    AutoReconnect,
    ConnectionFailure,
    NetworkTimeout,
    ServerSelectionTimeoutError,
    WaitQueueTimeoutError,
    ExecutionTimeout,
)
"""Errors of pymongo if the server is unavailable; requests get 503 with Retry-After."""

_NOT_NOW_CODES: Final = frozenset({11600, 11602, 91, 189, 13435, 10107, 18})
"""Shutting down, not primary, and a login rejected while users are re-created."""


_ROLLED_BACK_CODES: Final = frozenset({112, 16_777_220, 16_908_292})
"""The server rolled the write back, and it may be repeated: a write conflict, and, as FerretDB
reports them, PostgreSQL's serialization_failure (40001) and deadlock_detected (40P01),
packed as PostgreSQL packs an SQLSTATE
(https://www.postgresql.org/docs/current/errcodes-appendix.html)."""


def unavailable(error: BaseException) -> bool:
    """Return whether an error is transient, so that the request may be repeated.

    FerretDB reports an unavailable PostgreSQL as an internal error (code 1).
    """
    if isinstance(error, UNAVAILABLE):
        return True
    transient = {*_NOT_NOW_CODES, *_ROLLED_BACK_CODES, 1}
    if isinstance(error, BulkWriteError):
        codes = {each["code"] for each in error.details.get("writeErrors", ())}
        return bool(codes) and codes <= transient
    return isinstance(error, OperationFailure) and error.code in transient


class Mongo:
    """The database of one service."""

    def __init__(self, credentials: Credentials, *, file: str = "mongodb.uri") -> None:
        self._credentials = credentials
        self._file = file
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._credential: Credential | None = None
        self._old: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("mongo")

    @property
    def database(self) -> Database:
        """The service's database, with the current credentials."""
        return self._connected().get_default_database()

    async def ping(self) -> None:
        """Send a command that requires a login.

        Raises:
            PyMongoError: it failed.
        """
        await self.database.list_collection_names()
        if self._credential is not None:
            self._credentials.use("mongodb", self._credential.revision)

    async def swap(self) -> None:
        """Switch to the credentials that are in the folder now, if they work.

        Raises:
            PyMongoError, ConfigurationError: they do not; the old ones stay in use.
        """
        credential = self._credentials.read(self._file)
        candidate = self._connect(credential)
        try:
            await candidate.get_default_database().list_collection_names()
        except (PyMongoError, ConfigurationError) as error:
            self._log.warning(
                "the new credentials do not work yet; the old ones stay in use",
                error=type(error).__name__,
            )
            await candidate.close()
            raise
        old, self._client = self._client, candidate
        former, self._credential = self._credential, credential
        if former is not None:
            self._credentials.hold("mongodb", former.revision)
        self._credentials.use("mongodb", credential.revision)
        if old is not None and former is not None:
            task = asyncio.create_task(self._close_later(old, former.revision))
            self._old.add(task)
            task.add_done_callback(self._old.discard)

    async def watch(self) -> None:
        """Test the first credentials, then swap whenever the file changes; until cancelled."""
        await self._prove()

        async def changed() -> None:
            while True:
                try:
                    await self.swap()
                except (PyMongoError, ConfigurationError):
                    await asyncio.sleep(SERVER_SELECTION_SECONDS)
                else:
                    return

        await self._credentials.watch(self._file, changed, used=self._credential)

    async def close(self) -> None:
        """Close every client."""
        old = list(self._old)
        for task in old:
            task.cancel()
        await asyncio.gather(*old, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _prove(self) -> None:
        """Return once the credentials read at the start, or later ones, work."""
        while True:
            for attempt in (self.ping, self.swap):
                with contextlib.suppress(PyMongoError, ConfigurationError):
                    await attempt()
                    return
            await asyncio.sleep(SERVER_SELECTION_SECONDS)

    def _connected(self) -> AsyncMongoClient[dict[str, Any]]:
        if self._client is None:
            credential = self._credentials.read(self._file)
            self._client = self._connect(credential)
            self._credential = credential
        return self._client

    async def _close_later(self, client: AsyncMongoClient[dict[str, Any]], revision: str) -> None:
        try:
            await asyncio.sleep(DRAIN_SECONDS)
        finally:
            await client.close()
            self._credentials.release("mongodb", revision)

    def _connect(self, credential: Credential) -> AsyncMongoClient[dict[str, Any]]:
        authority: dict[str, Any] = {}
        if self._credentials.has(CA_FILE):
            authority["tlsCAFile"] = str(self._credentials.path(CA_FILE))
        return AsyncMongoClient(
            credential.text,
            serverSelectionTimeoutMS=int(SERVER_SELECTION_SECONDS * 1000),
            connectTimeoutMS=3_000,
            socketTimeoutMS=10_000,
            waitQueueTimeoutMS=3_000,
            maxPoolSize=50,
            tz_aware=True,
            **authority,
        )
