"""What the status reports about the findings of a reconcile pass."""

from typing import Any

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.reasons import Reason
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.kube.events import transitions
from ashchat_operator.resource.model import AshChat, Spec
from ashchat_operator.status.components import (
    Component,
    component,
    key_ring_lost,
    with_lost_key_ring,
    with_topology,
)
from ashchat_operator.status.conditions import Report, edge_url, invalid, status, with_one

FINE = {x: BackendResult(ready=True, reason=Reason.DECLARED, message="") for x in Backend}
LATER = "2026-01-02T00:00:00Z"


def ash(**spec: Any) -> AshChat:
    smtp = {"host": "mail", "from": "a@example.org"}
    return AshChat(
        name="demo",
        namespace="ashchat",
        uid="u",
        generation=3,
        spec=Spec.model_validate({"email": {"smtp": smtp}, **spec}),
    )


def deployment(**status: Any) -> dict[tuple[str, str], dict[str, Any]]:
    body = {
        "metadata": {"generation": 2},
        "spec": {
            "replicas": 2,
            "template": {"spec": {"containers": [{"image": "chat:1"}]}},
        },
        "status": {
            "observedGeneration": 2,
            "replicas": 2,
            "updatedReplicas": 2,
            "readyReplicas": 2,
            **status,
        },
    }
    return {("Deployment", "demo-chat"): body}


def told(
    *components: Component,
    results: dict[Backend, BackendResult] | None = None,
    problems: tuple[str, ...] = (),
    former: dict[str, Any] | None = None,
) -> dict[str, Any]:
    report = Report(
        components=components,
        results=FINE if results is None else results,
        problems=problems,
        url="",
        version="1",
        key_ring={"1": "abc"},
    )
    return status(ash(), report, former or {}, LATER)


def condition(said: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [item for item in said["conditions"] if item["type"] == kind]
    return dict(found)


CHAT = Component("chat", ready=True, reason="Available")


def test_a_component_is_ready_when_its_newest_pods_are() -> None:
    assert component(ash(), "chat", deployment(), ()).ready


def test_counts_of_older_generations_or_pods_do_not_make_a_component_ready() -> None:
    for stale in ({"observedGeneration": 1}, {"updatedReplicas": 1}, {"replicas": 3}):
        found = component(ash(), "chat", deployment(**stale), ())
        assert (found.ready, found.reason) == (False, "RollingOut")
    assert component(ash(), "chat", deployment(readyReplicas=1), ()).reason == "Starting"
    assert component(ash(), "chat", {}, ()).reason == "Missing"


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    container = {"name": "chat", "image": "chat:1", "state": state}
    return {"status": {"containerStatuses": [container]}}


def test_a_pod_that_cannot_start_is_reported_with_its_reason() -> None:
    live = deployment(readyReplicas=0)
    pulling = [
        component(ash(), "chat", live, (waiting(reason, f"{reason} after 10s"),))
        for reason in ("ErrImagePull", "ImagePullBackOff")
    ]
    # One message for both, because the kubelet alternates between them.
    assert pulling[0] == pulling[1]
    assert (pulling[0].reason, pulling[0].message) == (
        "ImagePullBackOff",
        "chat: cannot pull chat:1",
    )
    refused = component(ash(), "chat", live, (waiting("CreateContainerError", "no file"),))
    assert (refused.reason, refused.message) == ("CreateContainerError", "chat: no file")
    starting = component(ash(), "chat", live, (waiting("ContainerCreating"),))
    assert (starting.reason, starting.message) == ("Starting", "0 of 2 ready")


def test_ready_requires_every_backend_and_no_problem() -> None:
    assert condition(told(CHAT), "Ready")["status"] == "True"
    assert condition(told(CHAT, results={}), "Ready")["status"] == "False"
    assert condition(told(CHAT, problems=("refused",)), "Degraded")["status"] == "True"
    assert condition(told(CHAT, problems=("refused",)), "Ready")["status"] == "False"


def test_a_backend_that_is_not_as_declared_is_not_ready_with_a_reason() -> None:
    bad = BackendResult(ready=False, reason=Reason.QUEUE_INEQUIVALENT, message="delete it")
    running = Component("rabbitmq", ready=True, reason="Available")
    found = with_topology(running, {Backend.RABBITMQ: bad})
    assert (found.ready, found.reason, found.message) == (False, "QueueInequivalent", "delete it")
    said = told(found, results={**FINE, Backend.RABBITMQ: bad})
    assert condition(said, "TopologyReady")["status"] == "False"
    assert condition(said, "BackendsReady")["status"] == "False"


def test_a_lost_key_ring_is_reported_at_auth_with_what_to_restore() -> None:
    assert key_ring_lost(ash(), ()) == ""
    says = key_ring_lost(ash(), ("1",))
    assert "demo-auth-key-ring" in says
    auth = with_lost_key_ring(Component("auth", ready=True, reason="Available"), says)
    assert (auth.ready, auth.reason, auth.message) == (False, "KeyRingLost", says)
    assert with_lost_key_ring(CHAT, says) == CHAT
    said = told(auth, problems=(says,))
    assert condition(said, "Degraded")["status"] == "True"
    assert said["keyRing"] == {"1": "abc"}


def test_every_condition_has_the_generation_and_preserves_its_transition_time() -> None:
    first = told(CHAT)
    assert {item["observedGeneration"] for item in first["conditions"]} == {3}
    former = {**first, "conditions": [dict(item) for item in first["conditions"]]}
    for item in former["conditions"]:
        item["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    assert told(CHAT, former=former) == former
    changed = told(CHAT, problems=("x",), former=former)
    assert condition(changed, "Ready")["lastTransitionTime"] == LATER
    assert condition(changed, "TopologyReady")["lastTransitionTime"] == "2026-01-01T00:00:00Z"


def test_events_are_transitions() -> None:
    fine, bad = told(CHAT), told(CHAT, problems=("refused",))
    assert not list(transitions({}, fine))
    assert not list(transitions(fine, fine))
    said = {(event.reason, event.normal) for event in transitions(fine, bad)}
    assert said == {("NotReady", False), ("Degraded", False)}
    said = {(event.reason, event.normal) for event in transitions(bad, fine)}
    assert said == {("Ready", True), ("NotDegraded", True)}


def test_the_url_of_the_edge() -> None:
    assert edge_url(ash(publicUrl="https://chat.example.org/"), {}) == "https://chat.example.org"
    assert edge_url(ash(exposure={"type": "None"}), {}) == ""
    balancer = {"type": "Edge", "edge": {"serviceType": "LoadBalancer"}}
    service = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    live = {("Service", "demo-edge"): service}
    assert edge_url(ash(exposure=balancer), live) == "http://192.0.2.1"
    assert edge_url(ash(), live) == "http://demo-edge.ashchat.svc"


def test_a_resource_that_does_not_match_the_schema_is_reported_and_keeps_its_status() -> None:
    before = {
        "address": "kept",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "then"},
            {"type": "Degraded", "status": "False", "lastTransitionTime": "then"},
        ],
    }
    body = {"metadata": {"generation": 4}, "status": before}
    said = with_one(body, ConditionType.READY, invalid([("spec.email", "Field required")]), "now")
    assert said["address"] == "kept"
    assert [item["type"] for item in said["conditions"]] == ["Ready", "Degraded"]
    ready = said["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.email: Field required" in ready["message"]
    assert (ready["lastTransitionTime"], ready["observedGeneration"]) == ("now", 4)
    again = with_one({**body, "status": said}, ConditionType.READY, invalid([("a", "b")]), "later")
    assert again["conditions"][0]["lastTransitionTime"] == "now"
