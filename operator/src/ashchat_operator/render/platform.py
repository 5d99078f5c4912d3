"""All objects of one AshChat, in the order in which they are applied.

Everything is applied at once and nothing waits for anything: pods wait for their mounts,
services for their backends. The two waves only keep pods from being created a moment before
what they mount, which would cost the kubelet's retry.
"""

from ashchat_operator.backend import Backend
from ashchat_operator.credentials import Credentials
from ashchat_operator.model import AshChat, ExposureType
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
    secrets,
    static,
    translate,
)
from ashchat_operator.render.common import Context, Object
from ashchat_operator.render.exposure import NOTHING_FOUND, WayIn

WORKLOADS = ("Deployment", "StatefulSet")
BACKENDS = ("rabbitmq", "redis", "cache", "mongodb")


def components(ash: AshChat) -> tuple[str, ...]:
    """Return the names of the components, backends first."""
    names = (*BACKENDS, "apertium", "auth", "email", "chat", "translate", "static")
    return (*names, "edge") if ash.spec.exposure.type is ExposureType.EDGE else names


def render(
    ash: AshChat, context: Context, credentials: Credentials, way_in: WayIn = NOTHING_FOUND
) -> list[Object]:
    """Return all objects of one AshChat."""
    return [
        *network.render(ash, context, components(ash)),
        *secrets.admins(ash, credentials),
        *secrets.services(ash, credentials, context),
        secrets.signing_keys(ash, credentials),
        *secrets.key_ring(ash, credentials),
        secrets.jwks(ash, credentials),
        secrets.rabbitmq_definitions(ash, credentials),
        secrets.redis_acl(ash, credentials, Backend.REDIS),
        secrets.redis_acl(ash, credentials, Backend.CACHE),
        *rabbitmq.render(ash, context, credentials),
        *redis.render(ash, context, credentials),
        *cache.render(ash, context, credentials),
        *mongodb.render(ash, context, credentials),
        *apertium.render(ash, context),
        *auth.render(ash, context),
        *email.render(ash, context),
        *chat.render(ash, context),
        *translate.render(ash, context),
        *static.render(ash, context),
        *edge.render(ash, context, way_in.certificate),
        *exposure.render(ash, gateway_api=way_in.gateway_api),
    ]


def waves(objects: list[Object]) -> tuple[list[Object], list[Object]]:
    """Return what pods need, and the pods."""
    return (
        [item for item in objects if item["kind"] not in WORKLOADS],
        [item for item in objects if item["kind"] in WORKLOADS],
    )
