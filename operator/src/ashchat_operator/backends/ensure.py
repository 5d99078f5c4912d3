"""Bring all backends of one AshChat to the topology table, in one call.

RabbitMQ, both Redis instances and MongoDB are asked concurrently; each result reports whether
the backend is in order, as read back from the running server. Repeating the call is cheap: what
is in order is not written.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from ashchat_core.api.reasons import Reason
from ashchat_operator.backends.base import Accounts, Backend, BackendError, BackendResult, Login
from ashchat_operator.backends.mongodb import client as mongodb_client
from ashchat_operator.backends.mongodb import reconcile as mongodb
from ashchat_operator.backends.mongodb.desired import MongoDBTarget
from ashchat_operator.backends.rabbitmq import reconcile as rabbitmq
from ashchat_operator.backends.rabbitmq.desired import RabbitMQTarget
from ashchat_operator.backends.redis import client as redis_client
from ashchat_operator.backends.redis import reconcile as redis
from ashchat_operator.backends.redis.desired import RedisTarget

TIMEOUT_SECONDS: Final = 60.0
"""Seconds for one backend, its writes included: a first declaration on a busy node is slow."""

AnyTarget = RabbitMQTarget | RedisTarget | MongoDBTarget


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends to ask (None: not asked) and the users that they must hold."""

    logins: tuple[Login, ...]
    rabbitmq: RabbitMQTarget | None = None
    redis: RedisTarget | None = None
    cache: RedisTarget | None = None
    mongodb: MongoDBTarget | None = None
    retired: tuple[str, ...] = ()
    """Names of users that must not exist anywhere: the end of a rotation."""

    @property
    def targets(self) -> Mapping[Backend, AnyTarget]:
        """The backends to ask."""
        every: Mapping[Backend, AnyTarget | None] = {
            Backend.RABBITMQ: self.rabbitmq,
            Backend.REDIS: self.redis,
            Backend.CACHE: self.cache,
            Backend.MONGODB: self.mongodb,
        }
        return {backend: target for backend, target in every.items() if target is not None}

    @property
    def accounts(self) -> Accounts:
        """The users that must exist and those that must not."""
        return Accounts(self.logins, self.retired)

    def only(self, backend: Backend) -> "Backends":
        """Return the same with one backend alone, or with none if it is not asked."""
        return Backends(
            logins=self.logins,
            rabbitmq=self.rabbitmq if backend is Backend.RABBITMQ else None,
            redis=self.redis if backend is Backend.REDIS else None,
            cache=self.cache if backend is Backend.CACHE else None,
            mongodb=self.mongodb if backend is Backend.MONGODB else None,
            retired=self.retired,
        )


async def ensure(
    backends: Backends, *, write: bool = True, timeout_seconds: float = TIMEOUT_SECONDS
) -> dict[Backend, BackendResult]:
    """Bring every backend that is asked to what is desired.

    Args:
        backends: The backends and their users.
        write: False only reports what would be written (reason `Drifted`).
        timeout_seconds: Seconds for one backend.

    Returns:
        One result per backend asked. A backend's failure is in its result, not raised.
    """
    targets = backends.targets
    results = await asyncio.gather(
        *(
            _bounded(
                backend, _ensure(backend, target, backends.accounts, write=write), timeout_seconds
            )
            for backend, target in targets.items()
        )
    )
    return dict(zip(targets, results, strict=True))


def _ensure(
    backend: Backend, target: AnyTarget, accounts: Accounts, *, write: bool
) -> Awaitable[BackendResult]:
    match target:
        case RabbitMQTarget():
            return rabbitmq.ensure(target, accounts, write=write)
        case RedisTarget():
            return redis.ensure(target, accounts, cache=backend is Backend.CACHE, write=write)
        case MongoDBTarget():
            return mongodb.ensure(target, accounts, write=write)
        case _:
            assert_never(target)


async def _bounded(
    backend: Backend, work: Awaitable[BackendResult], timeout_seconds: float
) -> BackendResult:
    try:
        async with asyncio.timeout(timeout_seconds):
            return await work
    except TimeoutError:
        return BackendResult(
            ready=False,
            reason=Reason.TIMED_OUT,
            message=(
                f"{backend} was not in order within {timeout_seconds:g} s; the next pass continues."
            ),
        )
    except BackendError as error:
        return BackendResult(ready=False, reason=error.reason, message=str(error))


async def accepted(backends: Backends, logins: tuple[Login, ...]) -> tuple[Backend, ...]:
    """Return the backends at which one of these logins still works.

    RabbitMQ is not tried: a user that is not listed cannot log in (`ensure` reads the list back),
    and its management API rejects every user of the services.

    Args:
        backends: The backends to try.
        logins: The logins, which must not work any more.

    Returns:
        The backends; one that cannot be asked counts as accepting.
    """
    found: list[Backend] = []
    for backend, redis_target in ((Backend.REDIS, backends.redis), (Backend.CACHE, backends.cache)):
        if redis_target is None or await redis_client.accepts_any(redis_target, logins):
            found.append(backend)
    if backends.mongodb is None or await _mongodb_accepts(backends.mongodb, logins):
        found.append(Backend.MONGODB)
    return tuple(found)


async def _mongodb_accepts(target: MongoDBTarget, logins: tuple[Login, ...]) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await mongodb_client.accepts_any(target, logins)
    except TimeoutError:
        return True
