"""All objects of one AshChat.

Nothing waits for anything to become ready: pods wait for their mounts, services for their
backends. `kube.apply.STEPS` is the order in which kinds are applied.
"""

from ashchat_core.topology import Service
from ashchat_operator.backends import external
from ashchat_operator.backends.base import Backend
from ashchat_operator.credentials.bundle import Credentials
from ashchat_operator.render import (
    apertium,
    auth,
    cache,
    chat,
    edge,
    email,
    exposure,
    mongodb,
    network,
    rabbitmq,
    redis,
    restarts,
    secrets,
    static,
    translate,
)
from ashchat_operator.render.exposure import NOTHING_OBSERVED, ObservedExposure
from ashchat_operator.resource.enums import ExposureType
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.resource.types import Object

BACKENDS = ("rabbitmq", "redis", "cache", "mongodb")


def components(ash: AshChat) -> tuple[str, ...]:
    """Return the names of the components, backends first."""
    names = (*BACKENDS, "apertium", *(service.value for service in Service))
    return (*names, "edge") if ash.spec.exposure.type is ExposureType.EDGE else names


def render(
    ash: AshChat,
    context: ClusterContext,
    credentials: Credentials,
    observed: ObservedExposure = NOTHING_OBSERVED,
) -> list[Object]:
    """Return all objects of one AshChat."""
    managed = {*Backend} - {*external.blocks(ash)}
    objects = [
        *network.render(ash, context, components(ash)),
        *secrets.admins(ash, credentials),
        *secrets.services(ash, credentials, context),
        secrets.logins(ash, credentials),
        *secrets.signing_keys(ash, credentials),
        *secrets.key_ring(ash, credentials),
        secrets.jwks(ash, credentials),
        *([secrets.rabbitmq_definitions(ash, credentials)] if Backend.RABBITMQ in managed else []),
        *(
            secrets.redis_acl(ash, credentials, backend)
            for backend in (Backend.REDIS, Backend.CACHE)
            if backend in managed
        ),
        *(rabbitmq.render(ash, context, credentials) if Backend.RABBITMQ in managed else []),
        *(redis.render(ash, context, credentials) if Backend.REDIS in managed else []),
        *(cache.render(ash, context, credentials) if Backend.CACHE in managed else []),
        *(mongodb.render(ash, context, credentials) if Backend.MONGODB in managed else []),
        *apertium.render(ash, context),
        *auth.render(ash, context),
        *email.render(ash, context),
        *chat.render(ash, context),
        *translate.render(ash, context),
        *static.render(ash, context),
        *edge.render(ash, context, observed.certificate),
        *exposure.render(ash, gateway_api=observed.gateway_api),
    ]
    restarts.at_another_redis(objects)
    return objects
