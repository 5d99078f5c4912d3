"""A reconcile with nothing to do writes nothing: counted by the API server itself."""

import secrets

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.audit_log import AuditLog, Mark, brief
from ashchat_e2e.operator_pods import own_metrics

WAKES = 3


async def operator_account(cluster: Cluster) -> str:
    """Return the user name the operator's pod has at the API server."""
    pods = await cluster.list("pods", namespace=cluster.operator_namespace)
    assert pods, f"no operator in {cluster.operator_namespace}"
    account = pods[0]["spec"]["serviceAccountName"]
    return f"system:serviceaccount:{cluster.operator_namespace}:{account}"


async def reconciles(cluster: Cluster) -> float:
    """Return how many reconciles the operator has finished."""
    return (await own_metrics(cluster)).total("ashchat_operator_reconcile_total", result="success")


def by_operator(audit: AuditLog, mark: Mark, user: str) -> list[str]:
    """Return what it wrote, but for the Lease: that is written all the time, whatever it does."""
    return [
        brief(entry)
        for entry in audit.since(mark, user=user)
        if entry["objectRef"].get("resource") != "leases"
    ]


async def test_a_reconcile_with_nothing_to_do_writes_nothing(
    cluster: Cluster, audit: AuditLog
) -> None:
    user = await operator_account(cluster)

    async def settled() -> bool:
        before = audit.mark()
        count = await reconciles(cluster)
        await wake(cluster)
        await reconciled(cluster, count)
        return not by_operator(audit, before, user)

    # What other tests left to repair may still be going on.
    await until(settled, within=60, every=0, what="the operator having nothing to do")
    mark = audit.mark()
    for _ in range(WAKES):
        count = await reconciles(cluster)
        await wake(cluster)
        await reconciled(cluster, count)
    written = audit.since(mark)
    ours = [entry for entry in written if entry["objectRef"].get("resource") == "ashchats"]
    # The log is live: it has the test's own writes.
    assert len(ours) >= WAKES
    assert not by_operator(audit, mark, user)


async def wake(cluster: Cluster) -> None:
    """Change something on the resource that means nothing."""
    note = {"metadata": {"annotations": {"ashchat.example/wake": secrets.token_hex(4)}}}
    await cluster.patch("ashchats", cluster.name, note)


async def reconciled(cluster: Cluster, before: float) -> None:
    """Wait until a reconcile has ended since."""

    async def ended() -> bool:
        return await reconciles(cluster) > before

    await until(ended, within=60, what="a reconcile")
