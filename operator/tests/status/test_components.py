"""What the status reports about a component whose node does not respond."""

from typing import Any

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_operator.resource.names import child
from ashchat_operator.status.components import component
from operator_rendering import changed

Object = dict[str, Any]
ASH = changed("minimal", {})
DATA: Object = {"name": "data", "persistentVolumeClaim": {"claimName": "data-small-redis-0"}}


def pod(ready: str, containers: str, *volumes: Object, node: str = "b") -> Object:
    conditions = [
        {"type": "PodScheduled", "status": "True"},
        {"type": "ContainersReady", "status": containers},
        {"type": "Ready", "status": ready},
    ]
    return {
        "metadata": {"name": "x"},
        "spec": {"nodeName": node, "volumes": list(volumes)},
        "status": {"conditions": conditions},
    }


def found(kind: str, name: str, ready: int, *pods: Object) -> tuple[str, str]:
    template = {"spec": {"containers": [{"image": "i:1"}]}}
    body: Object = {
        "metadata": {"generation": 1},
        "spec": {"replicas": len(pods), "template": template},
        "status": {"observedGeneration": 1, "readyReplicas": ready, "replicas": len(pods)},
    }
    state = component(ASH, name, {(kind, child(ASH, name)): body}, pods)
    assert not state.ready
    return state.reason, state.message


def test_a_lost_node_and_the_volume_on_it_are_named() -> None:
    assert found("StatefulSet", "redis", 0, pod("False", "True", DATA)) == (
        Reason.NODE_LOST,
        "node b does not respond; the volume data-small-redis-0 is attached to it",
    )


def test_a_lost_node_without_a_volume_is_named() -> None:
    lost = found("Deployment", "chat", 1, pod("True", "True", node="a"), pod("False", "True"))
    assert lost == (Reason.NODE_LOST, "node b does not respond")


@pytest.mark.parametrize(("ready", "containers"), [("False", "False"), ("True", "True")])
def test_a_node_that_reports_is_not_lost(ready: str, containers: str) -> None:
    reason, message = found("Deployment", "chat", 0, pod(ready, containers))
    assert (reason, message) == (Reason.STARTING, "0 of 1 ready")
