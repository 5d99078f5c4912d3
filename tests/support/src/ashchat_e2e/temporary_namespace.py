"""AshChats of a test's own, beside the one that everybody tests: small, and gone afterwards."""

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
"""What there is of an AshChat, pods and what is derived aside."""

GONE_S = 60.0


def idle(name: str, **spec: Any) -> Object:
    """Return an AshChat whose services have no pods; its backends cannot be without."""
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
    """Have a namespace; yield it as a Cluster whose AshChat is called `demo`.

    Without `pods` a quota keeps any pod from being made: everything else is as real as ever
    and costs nothing.

    Raises:
        AssertionError: It did not go at the end.
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
    """Have several namespaces without pods; they go at the same time.

    Raises:
        AssertionError: One did not go at the end.
    """
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(namespace(cluster, name)) for name in names]
        try:
            yield found
        finally:
            await asyncio.gather(*(vanish(own) for own in found))


async def vanish(own: Cluster) -> None:
    """Take a namespace away with all that is in it, whatever holds it.

    Raises:
        AssertionError: It did not go.
    """
    if await own.find("namespaces", own.namespace) is None:
        return
    await own.delete("namespaces", own.namespace)
    for item in await own.list("ashchats"):
        await let_go(own, item["metadata"]["name"])
    await gone(own, "namespaces", own.namespace)


async def let_go(own: Cluster, name: str) -> None:
    """Take the finalizers off an AshChat; one that is gone is fine."""
    try:
        await own.patch("ashchats", name, {"metadata": {"finalizers": None}})
    except ApiError as error:
        if error.status != 404:
            raise


async def gone(own: Cluster, kind: str, name: str, *, within: float = GONE_S) -> None:
    """Wait until an object is gone.

    Raises:
        AssertionError: It is still there.
    """

    async def absent() -> bool:
        return await own.find(kind, name) is None

    await until(absent, within=within, what=f"{kind} {name} gone")


def of(name: str) -> dict[str, str]:
    """Return the labels of what there is of an AshChat."""
    return {
        Label.MANAGED_BY.value: "ashchat-operator",
        Label.INSTANCE.value: name,
    }


async def belongings(own: Cluster, name: str) -> list[str]:
    """Return what there is of an AshChat's: kind/name, sorted, pods aside."""
    found = [
        f"{kind}/{item['metadata']['name']}"
        for kind in KINDS
        for item in await own.list(kind, of(name))
    ]
    return sorted(found)
