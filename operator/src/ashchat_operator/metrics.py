"""The operator's metrics; docs/operations/monitoring.md explains each.

Names follow https://prometheus.io/docs/practices/naming/.
"""

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram, Info

from ashchat_core.api.conditions import ConditionStatus, ConditionType

RECONCILES: Final = Counter(
    "ashchat_operator_reconcile_total", "Reconcile passes, by result", ["result"]
)
RECONCILE_SECONDS: Final = Histogram(
    "ashchat_operator_reconcile_duration_seconds",
    "Duration of a reconcile pass",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
LAST_RECONCILE: Final = Gauge(
    "ashchat_operator_last_reconcile_timestamp_seconds",
    "Start of the last completed reconcile of the resource (Unix time)",
    ["namespace", "name"],
)
API_REQUESTS: Final = Counter(
    "ashchat_operator_api_requests_total",
    "Requests to the API server, by status code; code 0: no answer",
    ["verb", "kind", "code"],
)
WRITES: Final = Counter(
    "ashchat_operator_writes_total",
    "Writes: Kubernetes objects, statuses, and changes at backends",
)
DRIFT: Final = Counter(
    "ashchat_operator_drift_corrections_total",
    "Corrections of what others changed while the desired state stayed the same",
    ["kind"],
)
WATCH_STALENESS: Final = Gauge(
    "ashchat_operator_watch_staleness_seconds", "Time since the quietest watch received anything"
)
LEADER: Final = Gauge("ashchat_operator_leader", "1: this pod leads; 0: it stands by")
SCHEMA_CURRENT: Final = Gauge(
    "ashchat_operator_schema_current", "1: the served schema is not older than the operator"
)
BUILD: Final = Info("ashchat_operator_build", "Version of the operator and of Python")
CERTIFICATE_EXPIRY: Final = Gauge(
    "ashchat_operator_certificate_expiry_timestamp_seconds",
    "When the certificate that the edge serves expires (Unix time)",
    ["namespace", "name"],
)
READY: Final = Gauge(
    "ashchat_operator_resource_ready", "1: the resource is Ready", ["namespace", "name"]
)
PAUSED: Final = Gauge(
    "ashchat_operator_resource_paused", "1: the resource is paused", ["namespace", "name"]
)
CONDITION: Final = Gauge(
    "ashchat_operator_resource_condition",
    "1: the condition of the resource has this status",
    ["namespace", "name", "type", "status"],
)
DEAD_LETTERS: Final = Gauge(
    "ashchat_operator_dead_letter_messages",
    "Messages in each dead-letter queue",
    ["namespace", "name", "queue"],
)


@contextmanager
def reconciling() -> Iterator[None]:
    """Time one reconcile pass; count it if it fails."""
    began = time.monotonic()
    try:
        yield
    except Exception:
        RECONCILES.labels("error").inc()
        raise
    finally:
        RECONCILE_SECONDS.observe(time.monotonic() - began)


def count_completed() -> None:
    """Count a reconcile pass that read, applied and reported everything."""
    RECONCILES.labels("success").inc()


def reconciled(namespace: str, name: str, started: float) -> None:
    """Record the start (Unix time) of the last completed reconcile of a resource."""
    LAST_RECONCILE.labels(namespace, name).set(started)


def build(version: str) -> None:
    """Publish what runs here."""
    BUILD.info({"version": version, "python": platform.python_version()})


def publish_conditions(namespace: str, name: str, status: Mapping[str, Any]) -> None:
    """Publish a resource's conditions."""
    for item in status["conditions"]:
        for value in ConditionStatus:
            CONDITION.labels(namespace, name, item["type"], value.value).set(
                item["status"] == value
            )
        if item["type"] == ConditionType.READY:
            READY.labels(namespace, name).set(item["status"] == ConditionStatus.TRUE)
        if item["type"] == ConditionType.PAUSED:
            PAUSED.labels(namespace, name).set(item["status"] == ConditionStatus.TRUE)


def publish_dead_letters(namespace: str, name: str, queues: Mapping[str, int]) -> None:
    """Publish the number of messages in each dead-letter queue of a resource."""
    for queue, messages in queues.items():
        DEAD_LETTERS.labels(namespace, name, queue).set(messages)


def forget(namespace: str, name: str) -> None:
    """Remove the series of a resource that was deleted."""
    for metric in (READY, PAUSED, CONDITION, DEAD_LETTERS, CERTIFICATE_EXPIRY, LAST_RECONCILE):
        metric.remove_by_labels({"namespace": namespace, "name": name})
