"""Events of an AshChat, published only when the status of a condition changes."""

import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientError

from ashchat_core.api.conditions import ConditionStatus, ConditionType
from ashchat_core.api.names import API_VERSION, KIND, OPERATOR
from ashchat_core.api.reasons import EventReason
from ashchat_operator.kube import clock
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import ApiServerError

SILENT: Final = frozenset({ConditionType.PROGRESSING, ConditionType.BACKENDS_READY})
"""Conditions whose transitions are not published: others report the same."""

_NORMAL: Final = frozenset(
    {
        (ConditionType.DEGRADED, ConditionStatus.FALSE),
        (ConditionType.PAUSED, ConditionStatus.FALSE),
        (ConditionType.SECRETS_ROTATED, ConditionStatus.FALSE),
        *(
            (kind, ConditionStatus.TRUE)
            for kind in ConditionType
            if kind is not ConditionType.DEGRADED
        ),
    }
)
"""The transitions that are no reason for a warning."""

_REASONS: Final = {
    (ConditionType.PAUSED, ConditionStatus.FALSE): EventReason.RESUMED,
    (ConditionType.SECRETS_ROTATED, ConditionStatus.FALSE): EventReason.SECRETS_ROTATING,
}
"""The reason of a transition, where "Not" and the condition's type would mislead."""

_MESSAGE_MAX_CHARS: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an AshChat."""

    normal: bool
    reason: str
    message: str


def transitions(former: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Event]:
    """Yield an event for each condition whose status changed, and for each restart.

    The first status of a condition is no transition.
    """
    before = {item["type"]: item["status"] for item in former.get("conditions", [])}
    for item in status["conditions"]:
        kind, value = ConditionType.parse(item["type"]), ConditionStatus(item["status"])
        if (
            kind is None
            or kind in SILENT
            or value is ConditionStatus.UNKNOWN
            or value == before.get(kind, value)
        ):
            continue
        default = str(kind) if value is ConditionStatus.TRUE else f"Not{kind}"
        reason = str(_REASONS.get((kind, value), default))
        message = (item["message"] or item["reason"])[:_MESSAGE_MAX_CHARS]
        yield Event((kind, value) in _NORMAL, reason, message)
    handled = former.get("commands", {}).get("restarts", {})
    for component, token in status.get("commands", {}).get("restarts", {}).items():
        if token != handled.get(component):
            message = f"{component}: restarted for token {token}"
            yield Event(normal=True, reason=EventReason.RESTARTED.value, message=message)


async def publish(api: Api, body: Mapping[str, Any], event: Event) -> None:
    """Create an event about a resource; a failure is only logged."""
    where = body["metadata"]
    now = clock.timestamp()
    try:
        await api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": f"{where['name']}.{uuid.uuid4().hex[:16]}",
                    "namespace": where["namespace"],
                },
                "involvedObject": {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": where["name"],
                    "namespace": where["namespace"],
                    "uid": where["uid"],
                },
                "type": "Normal" if event.normal else "Warning",
                "reason": event.reason,
                "message": event.message,
                "source": {"component": OPERATOR},
                "reportingComponent": OPERATOR,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
            OPERATOR,
        )
    except ApiServerError as error:
        if not error.terminating:
            _log.warning("an event could not be published: %s", error)
    except (ClientError, OSError, TimeoutError) as error:
        # Not worth another pass: the status reports the same.
        _log.warning("an event could not be published: %r", error)
