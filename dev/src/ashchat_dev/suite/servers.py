"""The backends as an administrator reaches them from outside: for tests beside an AshChat."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import quote

from ashchat_dev.suite.cluster import Cluster

PREFIX: Final = "ASHCHAT_ADMIN_"

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

    Those of the environment where it has them, else the AshChat's own backends through
    port-forwards, with the administrators' passwords of its Secrets.
    """
    if given := {key: value for key, value in os.environ.items() if key.startswith(PREFIX)}:
        yield given
        return
    if cluster is None:
        raise RuntimeError(f"neither a cluster nor {PREFIX}… variables")
    async with AsyncExitStack() as stack:
        found: dict[str, str] = {}
        for variable, scheme, component, port in _SERVERS:
            name = f"{cluster.name}-{component}"
            secret = await cluster.secret(f"{name}-admin")
            who = ":".join(quote(secret[key].decode(), safe="") for key in ("username", "password"))
            local = await stack.enter_async_context(cluster.forward(f"service/{name}", port))
            found[PREFIX + variable] = f"{scheme}://{who}@127.0.0.1:{local}"
        yield found
