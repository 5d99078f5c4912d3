"""Events at the resource, on transitions of its conditions only."""

import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientError

from ashchat_operator.kube import clock
from ashchat_operator.kube.api import Api, ApiServerError
from ashchat_operator.resource.model import API_VERSION, KIND
from ashchat_operator.resource.names import MANAGER

TOLD: Final = frozenset(
    {
        "Ready",
        "TopologyReady",
        "Degraded",
        "Paused",
        "LeversHandled",
        "SchemaCurrent",
        "SecretsRotated",
        "CredentialsAccepted",
        "CertificateReady",
    }
)
_GOOD: Final = frozenset(
    {
        ("Ready", "True"),
        ("TopologyReady", "True"),
        ("Degraded", "False"),
        ("Paused", "True"),
        ("Paused", "False"),
        ("LeversHandled", "True"),
        ("SchemaCurrent", "True"),
        ("SecretsRotated", "True"),
        ("SecretsRotated", "False"),
        ("CredentialsAccepted", "True"),
        ("CertificateReady", "True"),
    }
)
_NAMES: Final = {("Paused", "False"): "Resumed", ("SecretsRotated", "False"): "SecretsRotating"}
"""The reason of a transition, where "Not" and its type would not say it."""

_MESSAGE_MAX: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """What happened."""

    normal: bool
    reason: str
    message: str


def transitions(former: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Event]:
    """Yield an event for each condition whose status changed; the first is no transition."""
    before = {item["type"]: item["status"] for item in former.get("conditions", [])}
    for item in status["conditions"]:
        kind, value = item["type"], item["status"]
        if kind in TOLD and value != before.get(kind, value) and value != "Unknown":
            good = (kind, value) in _GOOD
            reason = _NAMES.get((kind, value), kind if value == "True" else f"Not{kind}")
            yield Event(good, reason, (item["message"] or item["reason"])[:_MESSAGE_MAX])
    before = former.get("levers", {}).get("restarts", {})
    for component, stamp in status.get("levers", {}).get("restarts", {}).items():
        if stamp != before.get(component):
            yield Event(True, "Restarted", f"{component}: restarted for stamp {stamp}")  # noqa: FBT003


async def publish(api: Api, body: Mapping[str, Any], event: Event) -> None:
    """Write an event about a resource; that it cannot be written is only logged."""
    where = body["metadata"]
    now = clock.stamp()
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
                "source": {"component": MANAGER},
                "reportingComponent": MANAGER,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            },
            MANAGER,
        )
    except ApiServerError as error:
        if not error.terminating:
            _log.warning("an event could not be written: %s", error)
    except (ClientError, OSError, TimeoutError) as error:
        # Not worth a second look: what the event tells stands in the status.
        _log.warning("an event could not be written: %r", error)
