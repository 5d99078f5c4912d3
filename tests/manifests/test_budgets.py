"""No disruption budget blocks the drain of a node."""

from typing import Any

Manifest = dict[str, Any]


def of_kind(objects: list[Manifest], *kinds: str) -> list[Manifest]:
    return [item for item in objects if item["kind"] in kinds]


def test_one_pod_may_be_evicted_at_a_time(manifest: Manifest) -> None:
    if manifest["kind"] == "PodDisruptionBudget":
        assert manifest["spec"]["maxUnavailable"] == 1
        # With a single pod, a drain would wait forever.
        assert "minAvailable" not in manifest["spec"]


def test_an_unready_pod_does_not_block_a_drain(manifest: Manifest) -> None:
    if manifest["kind"] == "PodDisruptionBudget":
        assert manifest["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_only_workloads_that_can_have_several_pods_have_a_budget(
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
