"""A reconcile pass without changes writes nothing, according to the API server's audit log."""

import secrets

import pytest

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.audit_log import AuditLog, Mark, brief
from ashchat_e2e.operator_pods import reconciled

pytestmark = pytest.mark.smoke

WAKES = 3


async def operator_account(cluster: Cluster) -> str:
    """Return the name of the operator's service account at the API server."""
    pods = await cluster.list("pods", namespace=cluster.operator_namespace)
    assert pods, f"no operator in {cluster.operator_namespace}"
    account = pods[0]["spec"]["serviceAccountName"]
    return f"system:serviceaccount:{cluster.operator_namespace}:{account}"


def by_operator(cluster: Cluster, audit: AuditLog, mark: Mark, user: str) -> list[str]:
    """Return the operator's writes in the AshChat's namespace."""
    return [brief(x) for x in audit.since(mark, user=user, namespace=cluster.namespace)]


async def test_a_reconcile_with_nothing_to_do_writes_nothing(
    cluster: Cluster, audit: AuditLog
) -> None:
    user = await operator_account(cluster)

    async def settled() -> bool:
        before = audit.mark()
        await wake(cluster)
        await reconciled(cluster)
        return not by_operator(cluster, audit, before, user)

    # Repairs of what other tests changed may still be in progress.
    await until(settled, within=60, every=0, what="the operator having nothing to do")
    mark = audit.mark()
    for _ in range(WAKES):
        await wake(cluster)
        await reconciled(cluster)
    written = audit.since(mark, namespace=cluster.namespace)
    ours = [entry for entry in written if entry["objectRef"].get("resource") == "ashchats"]
    # Check that the log is live: it has the test's own writes.
    assert len(ours) >= WAKES
    assert not by_operator(cluster, audit, mark, user)


async def wake(cluster: Cluster) -> None:
    """Trigger a pass with a change that has no effect on the resource."""
    note = {"metadata": {"annotations": {"ashchat.example/wake": secrets.token_hex(4)}}}
    await cluster.patch("ashchats", cluster.name, note)
