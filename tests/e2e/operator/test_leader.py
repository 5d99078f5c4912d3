"""Two operator pods: one leads, and the other takes over when the leader fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.audit_log import AuditLog, brief
from ashchat_e2e.container_runtime import Runtime
from ashchat_e2e.operator_pods import (
    all_ready,
    configured,
    generations,
    holder,
    kill_leader,
    leader,
    operator_pods,
    reconciled,
)

FAILOVER_S = 20.0
HANDOVER_S = 5.0
POD = "authentication.kubernetes.io/pod-name"
"""In the audit log: which pod a token was made for (KEP-1205)."""

Measure = Callable[[str, float], None]
Object = dict[str, Any]


pytestmark = pytest.mark.disruptive


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def pair(cluster: Cluster) -> AsyncIterator[None]:
    """Run two operator pods; scale back to one at the end."""
    await configured(cluster, {"replicas": 2})
    yield
    await configured(cluster, {"replicas": 1})


async def victim(cluster: Cluster) -> Object:
    """Return an object that the operator re-creates."""
    found = await cluster.list("configmaps", cluster.labels("rabbitmq"))
    return found[0]


async def deleted(cluster: Cluster) -> Callable[[], Any]:
    """Delete an object; return a probe for its re-creation."""
    body = await victim(cluster)
    name, uid = body["metadata"]["name"], body["metadata"]["uid"]

    async def recreated() -> bool:
        now = await cluster.find("configmaps", name)
        return now is not None and now["metadata"]["uid"] != uid

    await cluster.delete("configmaps", name)
    return recreated


async def repaired(recreated: Callable[[], Any], began: float, what: str, measure: Measure) -> None:
    await until(recreated, within=FAILOVER_S, every=0.1, what=what)
    measure(what, time.monotonic() - began)


@pytest.mark.usefixtures("pair")
async def test_a_standby_pod_is_ready_and_writes_nothing(cluster: Cluster, audit: AuditLog) -> None:
    await all_ready(cluster, 2)
    leads = (await leader(cluster))["metadata"]["name"]
    (other,) = [
        pod["metadata"]["name"]
        for pod in await operator_pods(cluster)
        if pod["metadata"]["name"] != leads
    ]
    for name, value in ((leads, 1), (other, 0)):
        metrics = await cluster.metrics(name, namespace=cluster.operator_namespace)
        assert metrics.total("ashchat_operator_leader") == value
    mark = audit.mark()
    recreated = await deleted(cluster)
    await until(recreated, within=FAILOVER_S, what="re-created by the leader")
    assert not [entry for entry in audit.since(mark) if by(entry) == other]


@pytest.mark.usefixtures("pair")
async def test_a_leader_killed_with_its_pod_is_replaced_by_the_other(
    cluster: Cluster, runtime: Runtime, measure: Measure
) -> None:
    await all_ready(cluster, 2)
    before = await generations(cluster)
    began = time.monotonic()
    name = await kill_leader(cluster, runtime)
    recreated = await deleted(cluster)
    await repaired(recreated, began, "leader killed with its pod: re-created by the other", measure)
    assert await holder(cluster) != name
    await reconciled(cluster, 2)
    assert await generations(cluster) == before, "the change of leader restarted pods"


@pytest.mark.usefixtures("pair")
async def test_after_a_kill_either_pod_leads(
    cluster: Cluster, runtime: Runtime, measure: Measure
) -> None:
    await all_ready(cluster, 2)
    killed = await leader(cluster)
    began = time.monotonic()
    recreated, _ = await asyncio.gather(deleted(cluster), runtime.kill(killed))
    await repaired(recreated, began, "leader killed (kill -9): re-created", measure)


@pytest.mark.usefixtures("pair")
async def test_a_frozen_leader_writes_nothing_when_it_resumes(
    cluster: Cluster, runtime: Runtime, audit: AuditLog, measure: Measure
) -> None:
    await all_ready(cluster, 2)
    frozen = await leader(cluster)
    name = frozen["metadata"]["name"]
    await runtime.freeze(frozen)
    try:
        began = time.monotonic()
        recreated = await deleted(cluster)
        await repaired(recreated, began, "leader frozen: re-created by the other", measure)
        assert await holder(cluster) != name
        mark = audit.mark()
    finally:
        await runtime.thaw(frozen)

    async def ended() -> Object | None:
        pod = await cluster.find("pods", name, namespace=cluster.operator_namespace)
        if pod is None:
            return None
        (status,) = pod["status"]["containerStatuses"]
        (before,) = frozen["status"]["containerStatuses"]
        again = status["restartCount"] > before["restartCount"]
        return status["lastState"]["terminated"] if again else None

    last = await until(ended, within=30, what="the frozen pod exiting")
    assert last["exitCode"] not in {0, 137}, last
    # Its update of the Lease failed with a conflict; it sent no other request.
    written = [entry for entry in audit.since(mark) if by(entry) == name]
    assert not [
        brief(entry)
        for entry in written
        if entry["objectRef"]["resource"] != "leases" or entry["responseStatus"]["code"] < 300
    ]


@pytest.mark.usefixtures("pair")
async def test_a_stopped_leader_hands_over_at_once(cluster: Cluster, measure: Measure) -> None:
    await all_ready(cluster, 2)
    stopped = (await leader(cluster))["metadata"]["name"]
    began = time.monotonic()
    await cluster.delete("pods", stopped, namespace=cluster.operator_namespace)

    async def another() -> bool:
        return await holder(cluster) not in {"", stopped}

    await until(another, within=HANDOVER_S, every=0.1, what="a new leader")
    measure("leader stopped: the other leads", time.monotonic() - began)


def by(entry: Object) -> str:
    """Return the pod that sent a request, according to its token."""
    names = entry["user"].get("extra", {}).get(POD, [])
    return str(names[0]) if names else ""
