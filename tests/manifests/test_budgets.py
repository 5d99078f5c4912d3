"""No disruption budget blocks the drain of a node."""

from typing import Any

Manifest = dict[str, Any]


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [item for item in objects if item["kind"] in kinds]


def test_one_pod_at_a_time_may_go(manifest: Manifest) -> None:
    if manifest["kind"] == "PodDisruptionBudget":
        assert manifest["spec"]["maxUnavailable"] == 1
        # With a single pod, a drain would wait forever.
        assert "minAvailable" not in manifest["spec"]


def test_a_pod_that_does_not_work_holds_up_no_drain(manifest: Manifest) -> None:
    if manifest["kind"] == "PodDisruptionBudget":
        assert manifest["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_what_may_have_several_pods_has_one_budget_and_nothing_else(
    objects: list[Manifest],
) -> None:
    most = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"]["maxReplicas"]
        for item in of_kind(objects, "HorizontalPodAutoscaler")
    }
    budgets = of_kind(objects, "PodDisruptionBudget")
    for workload in of_kind(objects, "Deployment", "StatefulSet"):
        pods = workload["spec"]["template"]["metadata"]["labels"].items()
        own = [x for x in budgets if x["spec"]["selector"]["matchLabels"].items() <= pods]
        name = workload["metadata"]["name"]
        several = most.get(name, workload["spec"].get("replicas", 1)) > 1
        assert len(own) == several, name
