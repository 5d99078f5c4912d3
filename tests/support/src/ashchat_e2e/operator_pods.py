"""The operator's pods, and the metrics they export."""

import time
from collections.abc import Mapping
from typing import Any

from ashchat_core.api.names import Label
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster, pod_ready, rolled_out
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.waiting import until
from ashchat_e2e.container_runtime import Runtime

OPERATOR = "ashchat-operator"
"""Name of the release, the Deployment and the Lease."""

POD = {Label.NAME.value: OPERATOR, Label.COMPONENT.value: "operator"}

LAST_RECONCILE = "ashchat_operator_last_reconcile_timestamp_seconds"

Object = dict[str, Any]


async def operator_pods(cluster: Cluster) -> list[Object]:
    """Return the operator's pods that are not terminating."""
    pods = await cluster.list("pods", POD, namespace=cluster.operator_namespace)
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


async def holder(cluster: Cluster) -> str:
    """Return the name of the pod that holds the Lease; empty if none does."""
    lease = await cluster.read("leases", OPERATOR, namespace=cluster.operator_namespace)
    return str(lease["spec"].get("holderIdentity") or "")


async def leader(cluster: Cluster) -> Object:
    """Return the leading pod, waiting for one if necessary.

    Raises:
        AssertionError: No pod leads within 30 s.
    """

    async def found() -> Object | None:
        name = await holder(cluster)
        pods = {pod["metadata"]["name"]: pod for pod in await operator_pods(cluster)}
        return pods.get(name)

    return await until(found, within=30, what="a leading pod")


async def all_ready(cluster: Cluster, count: int) -> None:
    """Wait until the operator has exactly `count` pods, all Ready.

    Raises:
        AssertionError: This is not so within a minute.
    """

    async def ready() -> bool:
        pods = await operator_pods(cluster)
        return len(pods) == count and all(pod_ready(pod) for pod in pods)

    await until(ready, within=60, what=f"{count} pods of the operator Ready")


async def kill_leader(cluster: Cluster, runtime: Runtime) -> str:
    """Kill the leader (kill -9) and delete its pod, as if its node failed; return the pod's name.

    Restarting in place would be quicker, and a container that crashes repeatedly is delayed ever
    longer.
    """
    killed = await leader(cluster)
    name: str = killed["metadata"]["name"]
    await runtime.kill(killed)
    await cluster.delete("pods", name, now=True, namespace=cluster.operator_namespace)
    return name


async def own_metrics(cluster: Cluster) -> Metrics:
    """Return the metrics of the leading pod."""
    pod = await leader(cluster)
    return await cluster.metrics(pod["metadata"]["name"], namespace=cluster.operator_namespace)


async def generations(cluster: Cluster) -> dict[str, int]:
    """Return the generation of each workload's spec, by component."""
    return {
        work["metadata"]["labels"][Label.COMPONENT]: work["metadata"]["generation"]
        for kind in ("deployments", "statefulsets")
        for work in await cluster.list(kind, cluster.labels())
    }


async def reconciled(cluster: Cluster, times: int = 1) -> None:
    """Wait until the operator has started and completed new reconciliations of the AshChat.

    Args:
        cluster: The AshChat.
        times: The number of reconciliations.

    Raises:
        AssertionError: Fewer were completed within 90 s each.
    """

    async def last() -> float:
        metrics = await own_metrics(cluster)
        return metrics.total(LAST_RECONCILE, namespace=cluster.namespace, name=cluster.name)

    # Both clocks are the same: the suite runs on the node's machine.
    after = time.time()
    for _ in range(times):

        async def another(after: float = after) -> float | None:
            started = await last()
            return started if started > after else None

        after = await until(another, within=90, what="a reconciliation", ignoring=(ApiError,))


async def configured(cluster: Cluster, spec: Mapping[str, Any]) -> None:
    """Patch the operator's Deployment as Helm would, and wait until all its pods are updated."""
    where = f"/apis/apps/v1/namespaces/{cluster.operator_namespace}/deployments/{OPERATOR}"
    await cluster.request(
        "PATCH",
        where,
        json={"spec": spec},
        content_type="application/strategic-merge-patch+json",
        # Helm applies server-side: a field of another manager would be a conflict.
        fieldManager="helm",
    )

    async def settled() -> bool:
        deployment = await cluster.get(where)
        pods = await cluster.list("pods", POD, namespace=cluster.operator_namespace)
        return rolled_out(deployment, pods) and len(pods) == deployment["spec"]["replicas"]

    await until(settled, within=90, what="the operator with its new configuration")
