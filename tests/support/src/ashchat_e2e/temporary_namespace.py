"""AshChats for single tests, separate from the worker's: small, and deleted afterwards."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from ashchat_core.api.names import API_VERSION, Label
from ashchat_core.topology import Service
from ashchat_dev.kube.api import ApiError, path_of
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until

Object = dict[str, Any]

KINDS = (
    "secrets",
    "configmaps",
    "services",
    "persistentvolumeclaims",
    "deployments",
    "statefulsets",
)
"""Kinds of objects that belong to an AshChat, excluding pods and derived objects."""

GONE_S = 60.0


def idle(name: str, **spec: Any) -> Object:
    """Return an AshChat whose services are scaled to zero (backends cannot be)."""
    smtp = {"host": "mailpit.mailpit.svc", "port": 1025, "security": "None", "from": "a@test"}
    none: Object = {service: {"replicas": 0} for service in Service}
    none["email"]["smtp"] = smtp
    none["translate"]["apertium"] = {"replicas": 0}
    none["exposure"] = {"type": "None"}
    return {
        "apiVersion": API_VERSION,
        "kind": "AshChat",
        "metadata": {"name": name},
        "spec": {**none, **spec},
    }


@asynccontextmanager
async def namespace(
    cluster: Cluster, name: str, *, pods: bool = False, labels: Mapping[str, str] | None = None
) -> AsyncIterator[Cluster]:
    """Create a namespace; yield a Cluster for it whose AshChat is called `demo`.

    Without `pods`, a quota prevents the creation of pods: everything else works as usual, and costs
    nothing.

    Raises:
        AssertionError: The namespace was not deleted at the end.
    """
    async with Cluster(
        cluster.kubeconfig,
        kubectl=cluster.kubectl,
        namespace=name,
        operator_namespace=cluster.operator_namespace,
    ) as own:
        await vanish(own)
        await own.request(
            "POST",
            path_of("namespaces"),
            json={"metadata": {"name": name, "labels": dict(labels or {})}},
        )
        try:
            if not pods:
                quota = {"metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": "0"}}}
                await own.create("resourcequotas", quota)
            yield own
        finally:
            await vanish(own)


@asynccontextmanager
async def namespaces(cluster: Cluster, names: Sequence[str]) -> AsyncIterator[list[Cluster]]:
    """Create several namespaces without pods; they are deleted concurrently.

    Raises:
        AssertionError: A namespace was not deleted at the end.
    """
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(namespace(cluster, name)) for name in names]
        try:
            yield found
        finally:
            await asyncio.gather(*(vanish(own) for own in found))


async def vanish(own: Cluster) -> None:
    """Delete a namespace with everything in it, finalizers or not.

    Raises:
        AssertionError: The namespace was not deleted.
    """
    if await own.find("namespaces", own.namespace) is None:
        return
    await own.delete("namespaces", own.namespace)
    for item in await own.list("ashchats"):
        await let_go(own, item["metadata"]["name"])
    await gone(own, "namespaces", own.namespace)


async def let_go(own: Cluster, name: str) -> None:
    """Remove the finalizers from an AshChat, if it exists."""
    try:
        await own.patch("ashchats", name, {"metadata": {"finalizers": None}})
    except ApiError as error:
        if error.status != 404:
            raise


async def gone(own: Cluster, kind: str, name: str, *, within: float = GONE_S) -> None:
    """Wait until an object no longer exists.

    Raises:
        AssertionError: It still exists.
    """

    async def absent() -> bool:
        return await own.find(kind, name) is None

    await until(absent, within=within, what=f"{kind} {name} deleted")


def of(name: str) -> dict[str, str]:
    """Return the labels of an AshChat's objects."""
    return {
        Label.MANAGED_BY.value: "ashchat-operator",
        Label.INSTANCE.value: name,
    }


async def belongings(own: Cluster, name: str) -> list[str]:
    """Return an AshChat's objects as kind/name, sorted, excluding pods."""
    found = [
        f"{kind}/{item['metadata']['name']}"
        for kind in KINDS
        for item in await own.list(kind, of(name))
    ]
    return sorted(found)
