"""The autoscaler controls the number of pods, and the operator does not override it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.audit_log import AuditLog, brief
from ashchat_e2e.operator_pods import reconciled

LEAST, MOST = 2, 3
WITHIN_S = 120.0
METRICS = "/apis/metrics.k8s.io/v1beta1"

Object = dict[str, Any]


async def scale(cluster: Cluster, autoscaling: Object | None) -> None:
    # Less than usual, so that one more pod fits on a small node.
    resources = None if autoscaling is None else {"requests": {"cpu": "50m"}}
    spec = {"chat": {"autoscaling": autoscaling, "resources": resources}}
    await cluster.patch("ashchats", cluster.name, {"spec": spec})
    await reconciled(cluster)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def autoscaled(cluster: Cluster) -> AsyncIterator[None]:
    """Attach an autoscaler to chat; restore the previous number of pods at the end."""
    await cluster.wait_ready(within=WITHIN_S)
    before = len(await cluster.pods("chat"))
    await scale(cluster, {"minReplicas": LEAST, "maxReplicas": MOST})
    await until(lambda: pods_are(cluster, LEAST), within=WITHIN_S, what=f"{LEAST} pods of chat")
    await cluster.wait_ready(within=WITHIN_S)
    yield
    await scale(cluster, None)
    await until(lambda: pods_are(cluster, before), within=WITHIN_S, what="as many pods as before")
    await cluster.wait_ready(within=WITHIN_S)


async def pods_are(cluster: Cluster, count: int) -> bool:
    return len(await cluster.pods("chat")) == count


async def deployment(cluster: Cluster) -> Object:
    return await cluster.read("deployments", f"{cluster.name}-chat")


async def test_the_node_reports_pod_cpu_usage(cluster: Cluster, ready: None) -> None:  # noqa: ARG001
    async def told() -> bool:
        where = f"{METRICS}/namespaces/{cluster.namespace}/pods"
        items = (await cluster.get(where))["items"]
        return any(x["metadata"]["name"].startswith(f"{cluster.name}-chat-") for x in items)

    await until(told, within=WITHIN_S, every=1, what="the CPU usage of chat's pods")


async def test_replicas_set_by_an_autoscaler_are_left_alone(
    cluster: Cluster,
    autoscaled: None,  # noqa: ARG001
    audit: AuditLog,
) -> None:
    account = f"serviceaccount:{cluster.operator_namespace}:"
    name = f"{cluster.name}-chat"
    scaler = await cluster.read("horizontalpodautoscalers", name)
    assert scaler["spec"]["minReplicas"] == LEAST
    mark = audit.mark()
    where = f"/apis/apps/v1/namespaces/{cluster.namespace}/deployments/{name}/scale"
    await cluster.request(
        "PATCH",
        where,
        json={"spec": {"replicas": MOST}},
        content_type="application/merge-patch+json",
    )
    await until(lambda: pods_are(cluster, MOST), within=WITHIN_S, what=f"{MOST} pods of chat")
    await reconciled(cluster, 3)
    assert (await deployment(cluster))["spec"]["replicas"] == MOST
    written = [
        brief(entry)
        for entry in audit.since(mark, user=account, namespace=cluster.namespace)
        if entry["objectRef"]["resource"] in {"deployments", "horizontalpodautoscalers"}
    ]
    assert not written, written


async def test_no_more_than_one_pod_is_evicted_at_a_time(
    cluster: Cluster,
    autoscaled: None,  # noqa: ARG001
) -> None:
    await cluster.wait_ready(within=WITHIN_S)
    names = await cluster.pods("chat")

    async def allowed() -> bool:
        budget = await cluster.read("poddisruptionbudgets", f"{cluster.name}-chat")
        return bool(budget["status"].get("disruptionsAllowed") == 1)

    await until(allowed, within=WITHIN_S, what="a budget that allows one")
    await evict(cluster, names[0])
    try:
        await evict(cluster, names[1])
    except ApiError as error:
        assert error.status == 429, error  # noqa: PT017 (both outcomes are possible)
    else:
        raise AssertionError("two pods of chat were evicted concurrently")
    await cluster.wait_ready(within=WITHIN_S)


async def evict(cluster: Cluster, pod: str) -> None:
    where = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/eviction"
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    await cluster.request("POST", where, json=body)
