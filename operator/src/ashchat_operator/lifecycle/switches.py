"""Switches between managed and external backends, which must be confirmed, as no data moves. Pure.

The status records what a backend *is*. The spec takes effect when both agree, or when the
annotation names exactly this change; until then the previous backend stays in use. Switching back
needs another value of the annotation, so one that was left behind confirms nothing by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ashchat_core.api.names import Annotation
from ashchat_operator.backends.base import Backend
from ashchat_operator.backends.external import blocks
from ashchat_operator.resource.model import AshChat, External
from ashchat_operator.resource.names import child
from ashchat_operator.resource.types import Live, Object

MANAGED: Final = "Managed"
EXTERNAL: Final = "External"

_STAYS_BEHIND: Final = {
    Backend.RABBITMQ: "the messages in its queues",
    Backend.REDIS: "sign-ups and codes of the last ten minutes, and the counters of rate limits",
    Backend.MONGODB: "all accounts and conversations",
}
"""What would stay behind. The cache is not listed: it may lose everything at any time."""


@dataclass(frozen=True, slots=True)
class SwitchDecision:
    """The backends that are in use, whatever the spec says."""

    ash: AshChat
    """The resource, with the backends that are in use instead of those not confirmed."""
    backends: Mapping[str, Object]
    """For the status: backend → its kind, and of an external one its spec."""
    held: tuple[str, ...] = ()
    """The switches that are not confirmed, for the user."""


def decide(ash: AshChat, live: Live) -> SwitchDecision:
    """Return which backends are used.

    Args:
        ash: The resource.
        live: The objects found: if the status does not name a backend's kind, a StatefulSet
            shows that it is managed.
    """
    text = ash.annotations.get(Annotation.ALLOW_SWITCH, "")
    allowed = {word.strip().lower() for word in text.split(",")}
    known = ash.status.get("backends", {})
    wanted = blocks(ash)
    spec = ash.spec
    use: dict[Backend, External | None] = {}
    held: list[str] = []
    for backend in _STAYS_BEHIND:
        block = wanted.get(backend)
        now = known.get(backend.value, {})
        kind = now.get("kind")
        if kind is None and ("StatefulSet", child(ash, backend.value)) in live:
            kind = MANAGED
        becomes = MANAGED if block is None else EXTERNAL
        if kind in {None, becomes} or f"{backend}:{becomes}".lower() in allowed:
            use[backend] = block
            continue
        before = External.model_validate(now["external"]) if kind == EXTERNAL else None
        use[backend] = before
        held.append(
            f"the spec switches {backend} from {kind} to {becomes}, which moves no data: "
            f"{_STAYS_BEHIND[backend]} would stay behind. {backend} stays {kind} until the "
            "switch is confirmed. Move the data or accept its loss, then run: kubectl annotate "
            f"--overwrite ashchat {ash.name} -n {ash.namespace} "
            f"{Annotation.ALLOW_SWITCH}={backend}:{becomes}"
        )
    parts = {
        "rabbitmq": spec.rabbitmq.model_copy(update={"external": use[Backend.RABBITMQ]}),
        "redis": spec.redis.model_copy(update={"external": use[Backend.REDIS]}),
        "mongodb": spec.mongodb.model_copy(update={"external": use[Backend.MONGODB]}),
    }
    return SwitchDecision(
        ash.model_copy(update={"spec": spec.model_copy(update=parts)}),
        {backend.value: _recorded(block) for backend, block in use.items()},
        tuple(held),
    )


def _recorded(block: External | None) -> Object:
    if block is None:
        return {"kind": MANAGED}
    external = block.model_dump(by_alias=True, exclude_none=True, mode="json")
    return {"kind": EXTERNAL, "external": external}
