"""Administrator access to the backends from outside, for tests that bring their own topology."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from ashchat_core.topology import Service
from ashchat_dev.http import http_client
from ashchat_dev.kube.cluster import Cluster
from ashchat_operator.topology_cli import Admin

PREFIX: Final = "ASHCHAT_ADMIN_"

READY_S: Final = 120
"""Seconds to wait for the AshChat that owns the backends."""

_SERVERS: Final = (
    # variable, scheme, component, port
    ("RABBITMQ_MANAGEMENT_URI", "http", "rabbitmq", 15672),
    ("RABBITMQ_URI", "amqp", "rabbitmq", 5672),
    ("MONGODB_URI", "mongodb", "mongodb", 27017),
    ("REDIS_URI", "redis", "redis", 6379),
    ("CACHE_URI", "redis", "cache", 6379),
)


@asynccontextmanager
async def admin_environment(cluster: Cluster | None) -> AsyncIterator[dict[str, str]]:
    """Yield the variables that `ashchat-operator topology` reads.

    They come from the environment if set; otherwise they lead to the AshChat's own backends through
    port-forwards, with the administrators' passwords from its Secrets.
    """
    if given := {key: value for key, value in os.environ.items() if key.startswith(PREFIX)}:
        yield given
        return
    if cluster is None:
        raise RuntimeError(f"neither a cluster nor {PREFIX}… variables")
    # A module-scoped fixture is set up before the one that makes each test start Ready.
    await cluster.wait_ready(within=READY_S)
    async with AsyncExitStack() as stack:
        found: dict[str, str] = {}
        for variable, scheme, component, port in _SERVERS:
            name = f"{cluster.name}-{component}"
            secret = await cluster.secret(f"{name}-admin")
            who = ":".join(quote(secret[key].decode(), safe="") for key in ("username", "password"))
            local = await stack.enter_async_context(cluster.forward(f"service/{name}", port))
            found[PREFIX + variable] = f"{scheme}://{who}@127.0.0.1:{local}"
        yield found


def username(name: str, service: Service) -> str:
    """Return the user that `topology apply --name NAME` creates for a service."""
    return f"{name}-{service}-a"


async def take_away(admin: Admin, name: str) -> None:
    """Delete what `topology apply --name NAME` created: virtual host, users, databases."""
    if not name or admin.rabbitmq.vhost != name:
        raise ValueError("refusing to delete a topology without its own virtual host")
    users = [username(name, service) for service in Service]
    broker = admin.rabbitmq
    login = (broker.username, broker.password)
    async with http_client(broker.management_url, auth=login, timeout=20) as management:
        await management.delete(f"/api/vhosts/{name}")
        for user in users:
            await management.delete(f"/api/users/{user}")
    for target in (admin.redis, admin.cache):
        async with Redis(
            host=target.host, port=target.port, username=target.username, password=target.password
        ) as redis:
            await redis.acl_deluser(*users)
    at = admin.mongodb
    mongodb: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        at.host,
        at.port,
        username=at.username,
        password=at.password,
        directConnection=True,
        serverSelectionTimeoutMS=10_000,
    )
    async with mongodb:
        there = (await mongodb.admin.command("usersInfo")).get("users", ())
        for user in (user["user"] for user in there):
            if user in users:
                await mongodb.admin.command("dropUser", user)
        for database in at.databases.values():
            await mongodb.drop_database(database)
