"""Access to the backends, with the administrator's or a service's credentials."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import aio_pika
import httpx2
from aio_pika.connection import make_url
from aio_pika.exceptions import AMQPConnectionError, ProbableAuthenticationError
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from ashchat_dev.kube.cluster import Cluster

Database = AsyncDatabase[dict[str, Any]]
RedisAs = Callable[[str], Awaitable[Redis]]
MongoAs = Callable[[str], Awaitable[Database]]


class RabbitManagement:
    """RabbitMQ's management API; a path is relative to the server, as in its documentation."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the JSON response (None if it is empty)."""
        reply = await self._client.request(method, path, json=body)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    async def get(self, path: str) -> Any:
        """Send a GET request."""
        return await self.request("GET", path)

    async def put(self, path: str, body: Any = None) -> Any:
        """Send a PUT request."""
        return await self.request("PUT", path, body or {})

    async def post(self, path: str, body: Any = None) -> Any:
        """Send a POST request."""
        return await self.request("POST", path, body or {})

    async def delete(self, path: str) -> Any:
        """Send a DELETE request."""
        return await self.request("DELETE", path)

    async def queue(self, name: str) -> Any:
        """Return one queue of the AshChat virtual host."""
        return await self.get(f"/api/queues/ashchat/{quote(name, safe='')}")


async def redis_admin_uri(cluster: Cluster, stack: AsyncExitStack) -> str:
    """Return the administrator's Redis connection URI (a service may not list keys)."""
    secret = await cluster.secret(f"{cluster.name}-redis-admin")
    user, password = (quote(secret[key].decode(), safe="") for key in ("username", "password"))
    port = await stack.enter_async_context(cluster.forward(f"service/{cluster.name}-redis", 6379))
    return f"redis://{user}:{password}@127.0.0.1:{port}/0"


async def forwarded_uri(
    cluster: Cluster, stack: AsyncExitStack, service: str, credential: str, default_port: int
) -> str:
    """Return a service's own connection URI, redirected to a port-forward."""
    secret = await cluster.secret(f"{cluster.name}-{service}-credentials")
    uri = secret[credential].decode().strip()
    parts = urlsplit(uri)
    target = f"service/{(parts.hostname or '').split('.')[0]}"
    port = await stack.enter_async_context(cluster.forward(target, parts.port or default_port))
    who, _, _host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{who}@127.0.0.1:{port}").geturl()


async def accepts(cluster: Cluster, backend: str, username: str, password: str) -> bool:
    """Return whether a backend accepts a login.

    Args:
        cluster: The AshChat's cluster.
        backend: rabbitmq, redis, cache or mongodb.
        username: The user.
        password: The user's password.
    """
    port, attempt = _LOGINS[backend]
    async with cluster.forward(f"service/{cluster.name}-{backend}", port) as local:
        return await attempt(local, username, password)


async def _amqp(port: int, username: str, password: str) -> bool:
    uri = f"amqp://{quote(username, safe='')}:{quote(password, safe='')}@127.0.0.1:{port}/ashchat"
    connection = aio_pika.Connection(make_url(uri))
    try:
        await connection.connect(timeout=10)
    except (ProbableAuthenticationError, AMQPConnectionError) as error:
        if "ACCESS_REFUSED" not in str(error):
            raise
        return False
    finally:
        # Also after a refusal: else its finalizer closes it, in a thread without an event loop.
        await connection.close()
    return True


async def _redis(port: int, username: str, password: str) -> bool:
    client = Redis(host="127.0.0.1", port=port, username=username, password=password)
    try:
        await client.ping()
    except AuthenticationError:
        return False
    except NoPermissionError:
        return True
    finally:
        await client.aclose()
    return True


async def _mongodb(port: int, username: str, password: str) -> bool:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        "127.0.0.1",
        port,
        username=username,
        password=password,
        directConnection=True,
        serverSelectionTimeoutMS=10_000,
    )
    try:
        await client.admin.command("connectionStatus")
        await client["ashchat"].command("ping")
    except OperationFailure as error:
        if error.code not in {AUTHENTICATION_FAILED, UNAUTHORIZED}:
            raise
        return error.code == UNAUTHORIZED
    finally:
        await client.close()
    return True


AUTHENTICATION_FAILED, UNAUTHORIZED = 18, 13
_LOGINS = {
    "rabbitmq": (5672, _amqp),
    "redis": (6379, _redis),
    "cache": (6379, _redis),
    "mongodb": (27017, _mongodb),
}
