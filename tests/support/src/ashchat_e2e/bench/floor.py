"""How long the API server takes to create the objects of many AshChats without an operator.

This is the baseline for the operator on this machine at this time: one create request per object,
and no rendering, reading, comparing or reporting. It includes the client's own time.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from ashchat_core.api.names import Label
from ashchat_dev.kube.cluster import Cluster

KINDS: Final = (
    "secrets",
    "configmaps",
    "networkpolicies",
    "persistentvolumeclaims",
    "services",
    "deployments",
)
"""The kinds of objects of an AshChat with external backends and without replicas."""

AT_A_TIME: Final = 16
"""Maximum concurrent requests, as in the operator."""


Object = dict[str, Any]
Pattern = Sequence[tuple[str, Object]]
"""Plurals and objects."""


async def pattern(cluster: Cluster, name: str, namespace: str) -> Pattern:
    """Return the objects of an AshChat as a user would write them.

    Raises:
        ApiError: They cannot be listed.
    """
    return [
        (kind, bare(item))
        for kind in KINDS
        for item in await cluster.list(kind, {Label.INSTANCE: name}, namespace=namespace)
    ]


def bare(live: Object) -> Object:
    """Return an object without server-set fields, and without the operator's label."""
    labels = {k: v for k, v in live["metadata"]["labels"].items() if k != Label.MANAGED_BY}
    body = {key: value for key, value in live.items() if key not in {"metadata", "status"}}
    if body.get("spec", {}).get("clusterIP", "None") != "None":
        given = {"clusterIP", "clusterIPs"}
        body["spec"] = {key: value for key, value in body["spec"].items() if key not in given}
    return {**body, "metadata": {"name": live["metadata"]["name"], "labels": labels}}


async def make(cluster: Cluster, objects: Pattern, number: int, namespace: str) -> float:
    """Create `count` copies of objects; return the seconds until the last was created.

    Raises:
        ApiError: The API server rejected an object.
    """
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(kind: str, body: Object, copy: int) -> None:
        metadata = {**body["metadata"], "name": f"{body['metadata']['name']}-{copy}"}
        async with room:
            await cluster.create(kind, {**body, "metadata": metadata}, namespace=namespace)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for copy in range(number):
            for kind, body in objects:
                group.create_task(one(kind, body, copy))
    return time.monotonic() - began
