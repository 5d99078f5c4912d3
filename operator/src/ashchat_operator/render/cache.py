"""cache: the Redis of cached translations and of counters of limits, which may be evicted.

It is a separate instance, which stores nothing on disk: with one eviction policy for both, a full
cache, or a flood of counters, would either block sign-ups (noeviction) or evict them (allkeys-lru).
"""

from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.bundle import Credentials
from ashchat_operator.render.objects import config_map, deployment, service
from ashchat_operator.render.redis import COMMON, PORT, container, template
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.types import Object


def configuration(max_memory: str) -> str:
    """Return the configuration of the instance that evicts and writes nothing to disk."""
    return (
        COMMON
        + 'appendonly no\nsave ""\n'
        + f"maxmemory {int(quantity(max_memory))}\nmaxmemory-policy allkeys-lru\n"
    )


def render(ash: AshChat, context: ClusterContext, credentials: Credentials) -> list[Object]:
    """Return the instance's configuration, Deployment and Service."""
    spec = ash.spec.translate.cache
    running = container(spec.image or context.images["redis"], spec, spec.max_memory)
    files = {"redis.conf": configuration(spec.max_memory)}
    pods = template(ash, Backend.CACHE, credentials, running, files, stored=False)
    return [
        config_map(ash, "cache", files),
        deployment(ash, "cache", replicas=1, template=pods, recreate=True),
        service(ash, "cache", {"redis": PORT}),
    ]
