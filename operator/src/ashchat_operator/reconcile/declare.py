"""Declares queues, users and permissions at the backends of one AshChat, in the background.

A backend may take long to answer (it is starting, or its node is lost), so each backend is asked by
a separate task, and the status reports its last answer.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ashchat_core.topology import MONGODB_DATABASES
from ashchat_operator.backends import ensure
from ashchat_operator.backends.base import Address, Backend, BackendResult
from ashchat_operator.backends.ensure import Backends
from ashchat_operator.backends.external import ExternalServer, blocks, mongodb_address
from ashchat_operator.backends.mongodb.desired import MongoDBTarget
from ashchat_operator.backends.rabbitmq.desired import RabbitMQTarget
from ashchat_operator.backends.redis.desired import RedisTarget
from ashchat_operator.credentials.bundle import Credentials
from ashchat_operator.metrics import DRIFT
from ashchat_operator.resource.enums import Users
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext, host

FRESH_SECONDS: Final = 14.0
"""Age of a result below which its backend is not asked again, however many passes there are."""

STALE_SECONDS: Final = 17.5
"""Age of a result at which its backend is asked again. The next pass comes then, up to a fifth
earlier or later (`workers.JITTER`), so every 14 to 21 s. That leaves 9 of the 30 s within which
drift must be corrected."""

PATIENCE_SECONDS: Final = 0.7
"""How long a pass waits for answers: a backend in order answers within this."""

AT_A_TIME: Final = 3
"""Maximum backends of a kind that are asked concurrently: each takes up to six connections, each
with a TLS buffer of 256 KiB."""

Results = Mapping[Backend, BackendResult]
_log = logging.getLogger(__name__)


def targets(
    ash: AshChat, context: ClusterContext, credentials: Credentials, up: frozenset[Backend]
) -> Backends:
    """Return the backends to ask: those that are up, with their administrators' logins."""
    admin = credentials.admins
    external = blocks(ash)
    servers = credentials.external

    def redis(backend: Backend) -> RedisTarget | None:
        if backend in external:
            return _redis(servers[backend]) if backend in servers else None
        if backend not in up:
            return None
        who = admin[backend]
        return RedisTarget(host(ash, backend.value, context), 6379, who.username, who.password)

    rabbitmq = mongodb = None
    if Backend.RABBITMQ in external:
        rabbitmq = _rabbitmq(servers[Backend.RABBITMQ]) if Backend.RABBITMQ in servers else None
    elif Backend.RABBITMQ in up:
        who = admin[Backend.RABBITMQ]
        address = f"http://{host(ash, 'rabbitmq', context)}:15672"
        rabbitmq = RabbitMQTarget(address, who.username, who.password)
    if Backend.MONGODB in external:
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


def _address(server: ExternalServer) -> Address:
    host, port = server.hosts[0]
    return Address(host, port, server.ca if server.tls else None)


def _rabbitmq(server: ExternalServer) -> RabbitMQTarget:
    return RabbitMQTarget(
        server.management_url,
        server.username,
        server.password,
        vhost=server.vhost,
        declare_users=server.users is Users.DECLARE,
        prefix=server.prefix,
        address=_address(server),
    )


def _redis(server: ExternalServer) -> RedisTarget:
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


def _mongodb(server: ExternalServer) -> MongoDBTarget:
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
    """Limits how many backends are asked concurrently, over all AshChats.

    Backends that do not answer take long. They have separate slots, so that the drift of other
    backends is not kept waiting.
    """

    def __init__(self, at_a_time: int = AT_A_TIME) -> None:
        self.answering = {backend: asyncio.Semaphore(at_a_time) for backend in Backend}
        self.in_trouble = {backend: asyncio.Semaphore(at_a_time) for backend in Backend}


class Declarer:
    """Declares the topology at the backends of one AshChat; none waits for another."""

    def __init__(self, wake: Callable[[], None], turns: Turns) -> None:
        self._wake = wake
        self._late = False
        self._inquiries = {backend: _Inquiry(backend, turns, self._ended) for backend in Backend}

    async def results(self, generation: int, wanted: Backends) -> Results:
        """Return the last results for exactly these backends; ask those again that are due.

        A backend that has not answered for this generation yet is missing.
        """
        for backend, inquiry in self._inquiries.items():
            await inquiry.put(generation, wanted.only(backend))
        resting = [x for x in self._inquiries.values() if x.rests]
        # Those in order are asked together, in one pass instead of several.
        stale = _oldest(x for x in resting if x.in_order) + FRESH_SECONDS <= time.monotonic()
        self._late = False
        # Do not wait for those that are queued, because other passes need this slot.
        begun = [x.begin() for x in resting if stale or not x.in_order]
        if tasks := {task for task, waits in begun if not waits}:
            await asyncio.wait(tasks, timeout=PATIENCE_SECONDS)
        for inquiry in self._inquiries.values():
            inquiry.hear()
        self._late = self.asking
        return {x.backend: x.result for x in self._inquiries.values() if x.result is not None}

    @property
    def asking(self) -> bool:
        """Whether a backend is being asked, or is queued; the last answer wakes the resource."""
        return any(x.task is not None for x in self._inquiries.values())

    def due_seconds(self) -> float:
        """Return the seconds until a backend is due again; infinite: none is."""
        at = _oldest(x for x in self._inquiries.values() if x.rests)
        return max(0.0, at + STALE_SECONDS - time.monotonic())

    def changes(self) -> tuple[str, ...]:
        """Return what was written since the last call."""
        return tuple(change for x in self._inquiries.values() for change in x.changes())

    async def close(self) -> None:
        """Stop asking."""
        for inquiry in self._inquiries.values():
            await inquiry.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if (
            self._late
            and not task.cancelled()
            and not any(x.task is not None and not x.task.done() for x in self._inquiries.values())
        ):
            self._wake()


class _Inquiry:
    """The inquiry at one backend: the question, the last answer, and the task that awaits one."""

    def __init__(
        self, backend: Backend, turns: Turns, ended: Callable[[asyncio.Task[None]], None]
    ) -> None:
        self.backend = backend
        self.result: BackendResult | None = None
        self.at = 0.0
        self.task: asyncio.Task[None] | None = None
        self._turns = turns
        self._ended = ended
        self._question = (0, Backends(logins=()))
        self._in_trouble = False
        self._changes: list[str] = []

    @property
    def rests(self) -> bool:
        """Whether there is a question, and no answer is awaited."""
        return self.task is None and bool(self._question[1].targets)

    @property
    def in_order(self) -> bool:
        return self.result is not None and self.result.ready

    async def put(self, generation: int, wanted: Backends) -> None:
        """Set the question; the answer to another one is discarded."""
        if self._question != (generation, wanted):
            self._question, self.result = (generation, wanted), None
            await self.close()

    def begin(self) -> tuple[asyncio.Task[None], bool]:
        """Ask the question; return the task, and whether it is queued."""
        turns = self._turns.in_trouble if self._in_trouble else self._turns.answering
        turn = turns[self.backend]
        waits = turn.locked()
        self.task = asyncio.create_task(self._ask(self._question[1], turn))
        self.task.add_done_callback(self._ended)
        return self.task, waits

    def hear(self) -> None:
        """Release the task if it has ended."""
        if self.task is not None and self.task.done():
            self.task = None

    def changes(self) -> list[str]:
        """Return what was written since the last call."""
        changes, self._changes = self._changes, []
        return changes

    async def close(self) -> None:
        """Stop asking."""
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, wanted: Backends, turn: asyncio.Semaphore) -> None:
        async with turn:
            began = time.monotonic()
            try:
                result = (await ensure.ensure(wanted))[self.backend]
            except Exception:  # noqa: BLE001 (a defect of ours; the next pass retries)
                _log.exception("asking %s failed", self.backend)
                return
        if self.in_order:
            DRIFT.labels(self.backend.value).inc(len(result.changes))
        self._changes += result.changes
        self._in_trouble = not result.ready
        self.result = result
        self.at = began  # what was read first may have changed while the rest was read


def _oldest(inquiries: Iterable[_Inquiry]) -> float:
    """Return when the oldest answer was requested; infinite: there is none."""
    return min((x.at for x in inquiries if x.result is not None), default=math.inf)
