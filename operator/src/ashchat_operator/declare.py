"""Queues, users and rights at the backends of one AshChat, beside the repair of its objects.

Asking a backend may take long (it is starting, or its node is gone), so it happens in a
task of its own: one per AshChat, and its last results are what the status tells.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from ashchat_core.topology import MONGODB_DATABASES
from ashchat_operator import topology
from ashchat_operator.backend import Backend, BackendResult
from ashchat_operator.credentials import Credentials
from ashchat_operator.external import Server, blocks, mongodb_address
from ashchat_operator.metrics import DRIFT
from ashchat_operator.model import AshChat, Users
from ashchat_operator.reach import Address
from ashchat_operator.render.common import Context, host
from ashchat_operator.topology import (
    Backends,
    MongoDBTarget,
    RabbitMQTarget,
    RedisTarget,
)

FRESH_SECONDS: Final = 14.0
"""A result younger than this is not asked for again, however often one looks."""

STALE_SECONDS: Final = 17.5
"""A result of this age is asked for again: the next look comes then, up to a fifth earlier
or later (`wake.JITTER`), so every 14 to 21 s. That leaves 9 of the 30 s within which drift
is repaired for the repair."""

PATIENCE_SECONDS: Final = 0.7
"""A backend in order answers within this; then its result is in the same look."""

AT_A_TIME: Final = 3
"""The backends of so many AshChats are asked at a time: each takes half a dozen connections, of
which Python's TLS gives every one a buffer of 256 KiB."""

Results = Mapping[Backend, BackendResult]
_log = logging.getLogger(__name__)


def targets(
    ash: AshChat, context: Context, credentials: Credentials, up: frozenset[Backend]
) -> Backends:
    """Return what to ask: the backends that are up, as their administrators."""
    admin = credentials.admins
    brought = blocks(ash)
    servers = credentials.external

    def redis(backend: Backend) -> RedisTarget | None:
        if backend in brought:
            return _redis(servers[backend]) if backend in servers else None
        if backend not in up:
            return None
        who = admin[backend]
        return RedisTarget(host(ash, backend.value, context), 6379, who.username, who.password)

    rabbitmq = mongodb = None
    if Backend.RABBITMQ in brought:
        rabbitmq = _rabbitmq(servers[Backend.RABBITMQ]) if Backend.RABBITMQ in servers else None
    elif Backend.RABBITMQ in up:
        who = admin[Backend.RABBITMQ]
        address = f"http://{host(ash, 'rabbitmq', context)}:15672"
        rabbitmq = RabbitMQTarget(address, who.username, who.password)
    if Backend.MONGODB in brought:
        mongodb = _mongodb(servers[Backend.MONGODB]) if Backend.MONGODB in servers else None
    elif Backend.MONGODB in up:
        who = admin[Backend.MONGODB]
        name = host(ash, "mongodb", context)
        mongodb = MongoDBTarget(name, 27017, who.username, who.password)
    return Backends(
        logins=credentials.at_backends,
        rabbitmq=rabbitmq,
        redis=redis(Backend.REDIS),
        cache=redis(Backend.CACHE),
        mongodb=mongodb,
        retired=credentials.retired,
    )


def _address(server: Server) -> Address:
    host, port = server.hosts[0]
    return Address(host, port, server.ca if server.tls else None)


def _rabbitmq(server: Server) -> RabbitMQTarget:
    return RabbitMQTarget(
        server.management_url,
        server.username,
        server.password,
        vhost=server.vhost,
        declare_users=server.users is Users.DECLARE,
        prefix=server.prefix,
        amqp=_address(server),
    )


def _redis(server: Server) -> RedisTarget:
    host, port = server.hosts[0]
    return RedisTarget(
        host,
        port,
        server.username,
        server.password,
        owned=False,
        declare_users=server.users is Users.DECLARE,
        prefix=server.prefix,
        address=_address(server),
    )


def _mongodb(server: Server) -> MongoDBTarget:
    _, port = server.hosts[0]
    return MongoDBTarget(
        mongodb_address(server),
        port,
        server.username,
        server.password,
        auth_source=server.auth_source,
        databases={key: server.prefix + name for key, name in MONGODB_DATABASES.items()},
        declare_users=server.users is Users.DECLARE,
        prefix=server.prefix,
        address=_address(server),
    )


class Turns:
    """Whose turn it is to be asked, over all AshChats.

    Backends that do not answer are waited for long. Who has such ones waits apart, so that
    nobody else's drift waits with them.
    """

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self.answering = asyncio.Semaphore(at_a_time)
        self.in_trouble = asyncio.Semaphore(at_a_time)


class Declarer:
    """Keeps the backends of one AshChat at the topology table."""

    def __init__(self, wake: Callable[[], None], turns: Turns) -> None:
        self._wake = wake
        self._turns = turns
        self._in_trouble = False
        self._late = False
        self._asked: tuple[int, Backends] | None = None
        self._results: Results = {}
        self._at = -FRESH_SECONDS
        self._task: asyncio.Task[None] | None = None
        self._changes: list[str] = []
        self._was_in_order: dict[Backend, bool] = {}

    async def results(self, generation: int, wanted: Backends) -> Results:
        """Return what was last read back for exactly this; ask again where it is time.

        A backend that was not asked for this generation yet is missing.
        """
        question = (generation, wanted)
        if question != self._asked:
            self._asked, self._results, self._at = question, {}, -FRESH_SECONDS
            self._was_in_order = {}
            await self.close()
        in_order = bool(self._results) and all(x.ready for x in self._results.values())
        if self._task is None and not (in_order and time.monotonic() - self._at < FRESH_SECONDS):
            turn = self._turns.in_trouble if self._in_trouble else self._turns.answering
            # Who has to wait for a turn does not wait here: others want to look too.
            patience = 0.0 if turn.locked() else PATIENCE_SECONDS
            self._late = False
            self._task = asyncio.create_task(self._ask(wanted, turn))
            await asyncio.wait({self._task}, timeout=patience)
        if self._task is not None:
            self._late = not self._task.done()
            if not self._late:
                self._task = None
        return self._results

    @property
    def asking(self) -> bool:
        """Whether the backends are being asked, or wait for their turn; an answer wakes."""
        return self._task is not None

    def due_seconds(self) -> float:
        """Return the seconds until the backends are to be asked again."""
        return max(0.0, self._at + STALE_SECONDS - time.monotonic())

    def changes(self) -> tuple[str, ...]:
        """Return what was written since the last call."""
        changes, self._changes = tuple(self._changes), []
        return changes

    async def close(self) -> None:
        """Stop asking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, wanted: Backends, turn: asyncio.Semaphore) -> None:
        async with turn:
            began = time.monotonic()
            try:
                self._results = await topology.ensure(wanted)
            except Exception:  # noqa: BLE001 (a defect of ours; the next look tries again)
                _log.exception("asking the backends failed")
                return
        self._in_trouble = not all(result.ready for result in self._results.values())
        self._at = began  # what was read may have changed while the rest was still asked
        for backend, result in self._results.items():
            self._changes += result.changes
            if self._was_in_order.get(backend):
                DRIFT.labels(backend.value).inc(len(result.changes))
            self._was_in_order[backend] = result.ready
        if self._late:
            self._wake()
