"""One call that brings the backends to what the topology table says.

It asks RabbitMQ, both Redis instances and MongoDB at the same time and returns for each
whether it is in order, read back from the live server. Repeating it is free: what is in
order is not written.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

from ashchat_core.topology import REDIS_GRANTS, VHOST
from ashchat_operator.backends import connectivity, mongodb, rabbitmq, redis
from ashchat_operator.backends.base import (
    Backend,
    BackendError,
    BackendResult,
    Login,
    Reason,
    UnreachableError,
)
from ashchat_operator.backends.external import prefixed
from ashchat_operator.backends.mongodb import MongoDBTarget
from ashchat_operator.backends.rabbitmq import RabbitMQTarget
from ashchat_operator.backends.redis import RedisTarget

__all__ = [
    "Backend",
    "BackendResult",
    "Backends",
    "Login",
    "MongoDBTarget",
    "RabbitMQTarget",
    "Reason",
    "RedisTarget",
    "ensure",
    "mongodb_uri",
    "rabbitmq_uri",
    "redis_uri",
]

TIMEOUT_S: Final = 60.0
"""For one backend, all its writes included: on a busy node a first declaration takes long."""

SERVICE_LAG_S: Final = 2.0
"""So long after a pod is ready its Service may still refuse a connection: kube-proxy writes its
rules once a second (https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/,
minSyncPeriod)."""

RETRY_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends to look at (None: not asked) and the users to make there."""

    logins: tuple[Login, ...]
    rabbitmq: RabbitMQTarget | None = None
    redis: RedisTarget | None = None
    cache: RedisTarget | None = None
    mongodb: MongoDBTarget | None = None
    retired: tuple[str, ...] = ()
    """User names that are to be gone everywhere: the end of a rotation."""

    @property
    def given(self) -> frozenset[Backend]:
        """Which are to be looked at."""
        return frozenset(x for x in Backend if getattr(self, x.value) is not None)

    def only(self, backend: Backend) -> "Backends":
        """Return the same with one backend alone, or with none if it is not given."""
        return Backends(
            logins=self.logins,
            rabbitmq=self.rabbitmq if backend is Backend.RABBITMQ else None,
            redis=self.redis if backend is Backend.REDIS else None,
            cache=self.cache if backend is Backend.CACHE else None,
            mongodb=self.mongodb if backend is Backend.MONGODB else None,
            retired=self.retired,
        )


async def ensure(
    backends: Backends, *, write: bool = True, timeout_s: float = TIMEOUT_S
) -> dict[Backend, BackendResult]:
    """Bring every given backend to what is wanted.

    Args:
        backends: Where they are and which users they get.
        write: False only reports what would be written (reason `Drifted`).
        timeout_s: Seconds for one backend.

    Returns:
        One result per backend given. A backend's trouble is in its result, not raised.
    """
    running: dict[Backend, Awaitable[BackendResult]] = {}
    if backends.rabbitmq is not None:
        ask = partial(_rabbitmq, backends.rabbitmq, backends, write=write)
        running[Backend.RABBITMQ] = ask() if backends.rabbitmq.amqp else _ours(ask)
    for name, target in ((Backend.REDIS, backends.redis), (Backend.CACHE, backends.cache)):
        if target is not None:
            is_cache = name is Backend.CACHE
            ask = partial(_redis, target, backends, is_cache=is_cache, write=write)
            running[name] = ask() if target.address else _ours(ask)
    if backends.mongodb is not None:
        # The driver itself tries again until the server is found.
        running[Backend.MONGODB] = _mongodb(backends.mongodb, backends, write=write)
    results = await asyncio.gather(
        *(_bounded(name, work, timeout_s) for name, work in running.items())
    )
    return dict(zip(running, results, strict=True))


async def accepted(backends: Backends, logins: tuple[Login, ...]) -> tuple[str, ...]:
    """Return where one of these logins still works; Redis and MongoDB are tried.

    RabbitMQ is not: a user that is not listed cannot log in (`ensure` reads the list back),
    and its management API lets none of the services' users in, whoever they are.

    Returns:
        The names of the backends; one that cannot be asked counts as accepting.
    """
    where: list[str] = []
    for name, target in ((Backend.REDIS, backends.redis), (Backend.CACHE, backends.cache)):
        for login in logins:
            if target is None or await redis.accepts(target, login):
                where.append(name)
                break
    if backends.mongodb is None:
        return (*where, Backend.MONGODB)
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            mongodb.MongoClient(backends.mongodb) as client,
        ):
            for login in logins:
                if await client.accepts(login.username, login.password):
                    return (*where, Backend.MONGODB)
    except (BackendError, TimeoutError):
        where.append(Backend.MONGODB)
    return tuple(where)


async def _bounded(
    name: Backend, work: Awaitable[BackendResult], timeout_s: float
) -> BackendResult:
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError:
        return BackendResult(
            ready=False,
            reason=Reason.TIMED_OUT,
            message=f"{name} was not in order within {timeout_s:g} s; the next look goes on.",
        )
    except BackendError as error:
        return BackendResult(ready=False, reason=error.reason, message=str(error))


async def _ours(ask: Callable[[], Awaitable[BackendResult]]) -> BackendResult:
    """Ask a backend behind a Service of ours, again while the Service lags behind its pod."""
    ends = time.monotonic() + SERVICE_LAG_S
    while True:
        try:
            return await ask()
        except UnreachableError:
            if time.monotonic() >= ends:
                raise
        await asyncio.sleep(RETRY_S)


async def _rabbitmq(target: RabbitMQTarget, backends: Backends, *, write: bool) -> BackendResult:
    wanted = rabbitmq.desired(
        target.vhost,
        prefixed(backends.logins, target.prefix),
        [target.prefix + name for name in backends.retired],
        declare_users=target.declare_users,
    )
    if target.amqp is not None:
        await connectivity.check("RabbitMQ (AMQP)", target.amqp)
    try:
        async with rabbitmq.ManagementClient(target) as client:
            return await rabbitmq.reconcile(client, wanted, write=write)
    except UnreachableError as error:
        if target.amqp is None:
            raise
        address = rabbitmq.management_address(target)
        raise await connectivity.explained(error, "RabbitMQ's management API", address) from error


async def _redis(
    target: RedisTarget, backends: Backends, *, is_cache: bool, write: bool
) -> BackendResult:
    logins = prefixed(backends.logins, target.prefix)
    wanted = redis.wanted_users(target, logins, cache=is_cache)
    retired = tuple(target.prefix + name for name in backends.retired)
    try:
        async with redis.RedisClient(target) as client:
            if target.declare_users:
                return await redis.reconcile(client, wanted, retired, write=write)
            keys = [
                f"{target.prefix}{grant.service}:probe"
                for grant in REDIS_GRANTS
                if grant.cache is is_cache
            ]
            return await redis.check_provided_login(client, target.username, keys)
    except UnreachableError as error:
        if target.address is None:
            raise
        raise await connectivity.explained(error, "Redis", target.address) from error


async def _mongodb(target: MongoDBTarget, backends: Backends, *, write: bool) -> BackendResult:
    logins = prefixed(backends.logins, target.prefix)
    wanted = mongodb.desired_users(logins, target.databases)
    retired = tuple(target.prefix + name for name in backends.retired)
    try:
        async with mongodb.MongoClient(target) as client:
            if target.declare_users:
                return await mongodb.reconcile(client, wanted, retired, write=write)
            return await mongodb.check_provided_login(
                client, target.username, target.databases.values()
            )
    except UnreachableError as error:
        if target.address is None or target.host.startswith("mongodb+srv"):
            raise
        raise await connectivity.explained(error, "MongoDB", target.address) from error


def rabbitmq_uri(host: str, login: Login, port: int = 5672, vhost: str = VHOST) -> str:
    """Return the address a service connects to RabbitMQ with, its password included."""
    return f"amqp://{_userinfo(login)}@{host}:{port}/{quote(vhost, safe='')}"


def mongodb_uri(host: str, login: Login, database_name: str, port: int = 27017) -> str:
    """Return the address a service connects to MongoDB with, its password included."""
    return f"mongodb://{_userinfo(login)}@{host}:{port}/{database_name}?authSource=admin"


def redis_uri(host: str, login: Login, port: int = 6379) -> str:
    """Return the address a service connects to Redis with, its password included."""
    return f"redis://{_userinfo(login)}@{host}:{port}/0"


def _userinfo(login: Login) -> str:
    return f"{quote(login.username, safe='')}:{quote(login.password, safe='')}"
