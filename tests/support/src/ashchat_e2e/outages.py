"""Parts of the platform that are away for as long as a test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until

MAILPIT = "mailpit"
"""Namespace and Service of the mailbox."""

OPERATOR = "ashchat-operator"
CLOSED_PORT = 1026
GONE_S = 60.0


@asynccontextmanager
async def operator_away(cluster: Cluster) -> AsyncIterator[None]:
    """Have no operator.

    Raises:
        AssertionError: Its pod did not go.
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
        await until(gone, within=GONE_S, what="the operator gone")
        yield
    finally:
        await scale(deployment["spec"]["replicas"])


@asynccontextmanager
async def component_away(
    cluster: Cluster, component: str, kind: str = "statefulsets"
) -> AsyncIterator[None]:
    """Have a component without a pod; the operator is off, or it would mend it within a second.

    Raises:
        AssertionError: A pod did not go.
    """

    async def scale(replicas: int) -> None:
        await cluster.patch(kind, f"{cluster.name}-{component}", {"spec": {"replicas": replicas}})

    async def gone() -> bool:
        return not await cluster.list("pods", cluster.labels(component))

    async with operator_away(cluster):
        try:
            await scale(0)
            await until(gone, within=GONE_S, what=f"{component} gone")
            yield
        finally:
            await scale(1)


@asynccontextmanager
async def mail_server_away(cluster: Cluster) -> AsyncIterator[None]:
    """Let the mail server's Service lead to a closed port; its mailbox stays readable.

    email's kept connections would live on behind it, so its pods are killed: new ones have
    none.
    """
    service = await cluster.read("services", MAILPIT, namespace=MAILPIT)
    ports = service["spec"]["ports"]
    (index,) = [number for number, port in enumerate(ports) if port["name"] == "smtp"]

    async def lead_to(target: str | int) -> None:
        await cluster.patch(
            "services",
            MAILPIT,
            [{"op": "replace", "path": f"/spec/ports/{index}/targetPort", "value": target}],
            kind="json",
            namespace=MAILPIT,
        )

    await lead_to(CLOSED_PORT)
    try:
        await cluster.kill("email")
        yield
    finally:
        await lead_to(ports[index]["targetPort"])
