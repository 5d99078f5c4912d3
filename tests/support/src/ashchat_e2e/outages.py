"""Outages of parts of the platform, for as long as a test needs."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until

MAILPIT = "mailpit"
"""Name of the mailbox's Service and Deployment."""

OPERATOR = "ashchat-operator"
NO_PODS = "no-pods"
"""Name of the quota that forbids new pods."""

CLOSED_PORT = 1026
GONE_S = 60.0


@asynccontextmanager
async def operator_away(cluster: Cluster) -> AsyncIterator[None]:
    """Stop the operator while the context is open.

    Raises:
        AssertionError: Its pod did not terminate.
    """
    namespace = cluster.operator_namespace
    deployment = await cluster.read("deployments", OPERATOR, namespace=namespace)

    async def scale(replicas: int) -> None:
        wanted = {"spec": {"replicas": replicas}}
        await cluster.patch("deployments", OPERATOR, wanted, namespace=namespace)

    async def gone() -> bool:
        return not await cluster.list("pods", namespace=namespace)

    await scale(0)
    try:
        await until(gone, within=GONE_S, what="the operator stopped")
        yield
    finally:
        await scale(deployment["spec"]["replicas"])


@asynccontextmanager
async def component_away(
    cluster: Cluster, component: str, kind: str = "statefulsets"
) -> AsyncIterator[None]:
    """Delete all pods of a component; a quota keeps the cluster from creating new ones.

    The operator keeps running, as in an unplanned outage.

    Raises:
        AssertionError: A pod did not terminate.
    """
    quota = {"metadata": {"name": NO_PODS}, "spec": {"hard": {"pods": "0"}}}

    async def counted() -> bool:
        status = (await cluster.read("resourcequotas", NO_PODS)).get("status", {})
        return "hard" in status

    async def ended() -> bool:
        return not await cluster.list("pods", cluster.labels(component))

    await cluster.create("resourcequotas", quota)
    try:
        await until(counted, what="the quota in force")
        for pod in await cluster.list("pods", cluster.labels(component)):
            await cluster.delete("pods", pod["metadata"]["name"])
        await until(ended, within=GONE_S, what=f"the pods of {component} deleted")
        yield
    finally:
        await cluster.delete("resourcequotas", NO_PODS)
        await _retry_creation(cluster, component, kind)


async def _retry_creation(cluster: Cluster, component: str, kind: str) -> None:
    """Let the controller retry at once: it backs off for up to minutes after refusals."""
    note = {"metadata": {"annotations": {"ashchat.example/retry": secrets.token_hex(4)}}}
    controllers = "replicasets" if kind == "deployments" else kind
    for item in await cluster.list(controllers, cluster.labels(component)):
        await cluster.patch(controllers, item["metadata"]["name"], note)


async def mail_namespace(cluster: Cluster) -> str:
    """Return the namespace of the AshChat's mail server."""
    host: str = (await cluster.resource())["spec"]["email"]["smtp"]["host"]
    return host.split(".")[1]


@asynccontextmanager
async def mail_server_away(cluster: Cluster) -> AsyncIterator[None]:
    """Let the mail server's Service target a closed port; its mailbox stays readable.

    email's open connections would survive this, so its pods are killed: new ones have no
    connections.
    """
    namespace = await mail_namespace(cluster)
    service = await cluster.read("services", MAILPIT, namespace=namespace)
    ports = service["spec"]["ports"]
    (index,) = [number for number, port in enumerate(ports) if port["name"] == "smtp"]

    async def lead_to(target: str | int) -> None:
        await cluster.patch(
            "services",
            MAILPIT,
            [{"op": "replace", "path": f"/spec/ports/{index}/targetPort", "value": target}],
            kind="json",
            namespace=namespace,
        )

    await lead_to(CLOSED_PORT)
    try:
        await cluster.kill("email")
        yield
    finally:
        await lead_to(ports[index]["targetPort"])
