"""The metrics of rotations. They follow from the status, so that a restart loses nothing."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from prometheus_client import Gauge

from ashchat_operator.credentials.rotation.machine import RotationState

_LABELS: Final = ("namespace", "name", "kind")

RUNNING: Final = Gauge(
    "ashchat_operator_rotation_running", "1: a rotation of this credential is under way", _LABELS
)
PHASE_START: Final = Gauge(
    "ashchat_operator_rotation_phase_start_timestamp_seconds",
    "When the current phase of the rotation began (Unix time)",
    _LABELS,
)
LAST_ROTATION: Final = Gauge(
    "ashchat_operator_last_rotation_timestamp_seconds",
    "When the last rotation ended (Unix time)",
    _LABELS,
)
LAST_DURATION: Final = Gauge(
    "ashchat_operator_last_rotation_duration_seconds", "Duration of the last rotation", _LABELS
)


def publish(namespace: str, name: str, states: Iterable[RotationState]) -> None:
    """Publish the state of a resource's rotations."""
    for state in states:
        labels = (namespace, name, state.name)
        RUNNING.labels(*labels).set(state.running)
        PHASE_START.labels(*labels).set(_unix(state.last_transition_time))
        if state.last_rotation_time:
            LAST_ROTATION.labels(*labels).set(_unix(state.last_rotation_time))
        if state.last_rotation_time and not state.running:
            took = _unix(state.last_rotation_time) - _unix(state.start_time)
            LAST_DURATION.labels(*labels).set(took)


def forget(namespace: str, name: str) -> None:
    """Remove the series of a resource that was deleted."""
    for metric in (RUNNING, PHASE_START, LAST_ROTATION, LAST_DURATION):
        metric.remove_by_labels({"namespace": namespace, "name": name})


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
