"""Steps about the volumes of backends: growing them, and marking what they were sealed with."""

from collections.abc import Mapping

from ashchat_core.api.names import OPERATOR, Annotation
from ashchat_operator import metrics
from ashchat_operator.kube import adoption
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.apply import Applied
from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.types import Live


async def grow(api: Api, ash: AshChat, live: Live) -> list[str]:
    """Enlarge the volumes of the backends to the sizes in the spec.

    Args:
        api: The API server.
        ash: The AshChat.
        live: The objects found.

    Returns:
        What was refused, for the user.
    """
    sizes = {
        "rabbitmq": ash.spec.rabbitmq.managed.storage.size,
        "redis": ash.spec.redis.managed.storage.size,
        "mongodb": ash.spec.mongodb.managed.storage.size,
    }
    problems = []
    for component, size in sizes.items():
        name = f"data-{child(ash, component)}-0"
        claim = live.get(("PersistentVolumeClaim", name))
        if claim is None:
            continue
        if quantity(size) <= quantity(claim["spec"]["resources"]["requests"]["storage"]):
            continue
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": ash.namespace},
            "spec": {"resources": {"requests": {"storage": size}}},
        }
        try:
            await api.apply(body, OPERATOR)
        except ApiServerError as error:
            problems.append(f"the volume {name} cannot grow to {size}: {error}")
    return problems


async def mark_key_ring(
    api: Api, ash: AshChat, applied: Applied, fingerprints: Mapping[str, str]
) -> list[str]:
    """Record the fingerprints of the key ring at the volume claim with the data.

    The status records them too, but it is deleted with the resource.

    Returns:
        What was refused, for the user.
    """
    kind, name = adoption.data_claim(ash)
    claim = applied.live.get((kind, name))
    if claim is None or applied.stopped or adoption.ring_of(claim) == fingerprints:
        return []
    annotations = {Annotation.KEY_RING.value: adoption.ring_annotation(fingerprints)}
    try:
        await api.patch_metadata({**claim, "kind": kind}, {"annotations": annotations}, OPERATOR)
    except ApiServerError as error:
        return [f"the key ring's fingerprints cannot be recorded at {name}: {error}"]
    metrics.WRITES.inc()
    return []
