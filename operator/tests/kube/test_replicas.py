"""An autoscaler owns `replicas`: at creation, and after a handover from the operator."""

from typing import Any

from ashchat_core.api.names import OPERATOR
from ashchat_operator.kube.replicas import HOLDER, autoscaled, hand_over, with_first

SCALER = {"spec": {"minReplicas": 2, "maxReplicas": 5}}


def deployment(replicas: int | None = None, **metadata: Any) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "demo-chat", "namespace": "a", **metadata},
        "spec": spec,
    }


def held_by(manager: str, operation: str = "Apply") -> dict[str, Any]:
    fields: dict[str, Any] = {"f:spec": {"f:replicas": {}}}
    return {"manager": manager, "operation": operation, "fieldsV1": fields}


def test_a_deployment_without_replicas_is_scaled_by_an_autoscaler() -> None:
    assert autoscaled(deployment())
    assert not autoscaled(deployment(3))
    assert not autoscaled({"kind": "Secret", "spec": {}})


def test_a_new_deployment_starts_with_the_minimum() -> None:
    assert with_first(deployment(), SCALER)["spec"] == {"replicas": 2}


def test_a_handover_manager_takes_the_field_while_we_own_it() -> None:
    live = deployment(3, managedFields=[held_by(OPERATOR)])
    taken = hand_over(deployment(), live, SCALER)
    assert taken is not None
    assert taken["spec"] == {"replicas": 3}
    assert taken["metadata"] == {"name": "demo-chat", "namespace": "a"}


def test_the_replicas_handed_over_are_within_the_autoscalers_bounds() -> None:
    for now, wanted in ((0, 2), (1, 2), (5, 5), (9, 5)):
        live = deployment(now, managedFields=[held_by(OPERATOR)])
        taken = hand_over(deployment(), live, SCALER)
        assert taken is not None
        assert taken["spec"]["replicas"] == wanted


def test_a_field_that_others_own_is_left_alone() -> None:
    for entry in (held_by(HOLDER), held_by("kube-controller-manager", "Update")):
        live = deployment(4, managedFields=[entry])
        assert hand_over(deployment(), live, SCALER) is None
