"""What the operator tells of rotations; from the status, so a restart forgets nothing."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from prometheus_client import Gauge

from ashchat_operator.credentials.rotation.machine import RotationState

_LABELS: Final = ("namespace", "name", "kind")

RUNNING: Final = Gauge("ashchat_operator_rotation_running", "1: a rotation is under way", _LABELS)
SINCE: Final = Gauge(
    "ashchat_operator_rotation_phase_timestamp_seconds",
    "When the phase of the rotation began (Unix time)",
    _LABELS,
)
LAST: Final = Gauge(
    "ashchat_operator_rotation_timestamp_seconds",
    "When the last rotation ended (Unix time); its age is time() minus this",
    _LABELS,
)
DURATION: Final = Gauge(
    "ashchat_operator_rotation_duration_seconds", "How long the last rotation took", _LABELS
)


def told(namespace: str, name: str, states: Iterable[RotationState]) -> None:
    """Show how far the rotations of a resource are."""
    for state in states:
        labels = (namespace, name, state.name)
        RUNNING.labels(*labels).set(state.running)
        SINCE.labels(*labels).set(_unix(state.last_transition_time))
        if state.last_rotation_time:
            LAST.labels(*labels).set(_unix(state.last_rotation_time))
        if state.last_rotation_time and not state.running:
            took = _unix(state.last_rotation_time) - _unix(state.start_time)
            DURATION.labels(*labels).set(took)


def forget(namespace: str, name: str) -> None:
    """Show nothing more of a resource: it is gone."""
    for metric in (RUNNING, SINCE, LAST, DURATION):
        metric.remove_by_labels({"namespace": namespace, "name": name})


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
