"""What the operator counts. docs/operations/monitoring.md says what each is for."""

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import Counter, Gauge, Histogram, Info

from ashchat_core.api.conditions import ConditionStatus, ConditionType

RECONCILES: Final = Counter(
    "ashchat_operator_reconciles", "Looks at a resource that went to their end"
)
RECONCILE_ERRORS: Final = Counter(
    "ashchat_operator_reconcile_errors", "Looks at a resource that failed"
)
RECONCILE_SECONDS: Final = Histogram(
    "ashchat_operator_reconcile_duration_seconds",
    "How long a look at a resource took",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
API_CALLS: Final = Counter(
    "ashchat_operator_api_calls",
    "Requests to the API server, by what it answered; code 0: nothing",
    ["verb", "kind", "code"],
)
WRITES: Final = Counter(
    "ashchat_operator_writes", "Objects, statuses and things at backends that were written"
)
DRIFT: Final = Counter(
    "ashchat_operator_drift_corrections",
    "What was put right though nothing else was wanted than before",
    ["kind"],
)
WATCH_STALENESS: Final = Gauge(
    "ashchat_operator_watch_staleness_seconds", "How long the quietest watch has said nothing"
)
LEADER: Final = Gauge("ashchat_operator_leader", "1: this pod works; 0: it stands by")
SCHEMA_CURRENT: Final = Gauge(
    "ashchat_operator_schema_current", "1: the schema served is not older than the operator"
)
BUILD: Final = Info("ashchat_operator_build", "What runs here")
CERTIFICATE_EXPIRY: Final = Gauge(
    "ashchat_operator_certificate_expiry_timestamp_seconds",
    "When the certificate that the edge serves expires (Unix time)",
    ["namespace", "name"],
)
READY: Final = Gauge(
    "ashchat_operator_resource_ready", "1: the resource is Ready", ["namespace", "name"]
)
PAUSED: Final = Gauge(
    "ashchat_operator_paused", "1: the resource is left alone", ["namespace", "name"]
)
CONDITION: Final = Gauge(
    "ashchat_operator_condition",
    "1: the condition of the resource has this status",
    ["namespace", "name", "type", "status"],
)
DEAD_LETTERS: Final = Gauge(
    "ashchat_operator_dead_letters",
    "Messages that a service gave up, by dead-letter queue",
    ["namespace", "name", "queue"],
)


@contextmanager
def reconciling() -> Iterator[None]:
    """Count one look at a resource, and how long it takes."""
    began = time.monotonic()
    try:
        yield
    except Exception:
        RECONCILE_ERRORS.inc()
        raise
    finally:
        RECONCILE_SECONDS.observe(time.monotonic() - began)


def build(version: str) -> None:
    """Say what runs here."""
    BUILD.info({"version": version, "python": platform.python_version()})


def told(namespace: str, name: str, status: Mapping[str, Any]) -> None:
    """Show a resource's conditions."""
    for item in status["conditions"]:
        for value in ConditionStatus:
            CONDITION.labels(namespace, name, item["type"], value.value).set(
                item["status"] == value
            )
        if item["type"] == ConditionType.READY:
            READY.labels(namespace, name).set(item["status"] == "True")
        if item["type"] == ConditionType.PAUSED:
            PAUSED.labels(namespace, name).set(item["status"] == "True")


def dead_letters(namespace: str, name: str, queues: Mapping[str, int]) -> None:
    """Show how many messages are in each dead-letter queue of a resource."""
    for queue, messages in queues.items():
        DEAD_LETTERS.labels(namespace, name, queue).set(messages)


def forget(namespace: str, name: str) -> None:
    """Show nothing more of a resource: it is gone."""
    for metric in (READY, PAUSED, CONDITION, DEAD_LETTERS, CERTIFICATE_EXPIRY):
        metric.remove_by_labels({"namespace": namespace, "name": name})
