"""What a deletion removes, what a successor reuses, and that nothing ever gets stuck."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import FINALIZER, Annotation, Label
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.backends import forwarded_uri
from ashchat_e2e.outages import operator_away
from ashchat_e2e.temporary_namespace import belongings, gone, idle, let_go, namespace

Object = dict[str, Any]

DELETE = {"deletionPolicy": "Delete"}
NO_IMAGE = {"managed": {"image": "registry.invalid/none:0"}}
"""A backend that the test does without."""

STORES = ("data-{}-mongodb-0", "data-{}-rabbitmq-0", "data-{}-redis-0")


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def own(cluster: Cluster) -> AsyncIterator[Cluster]:
    """A namespace without pods; each test uses its own names for AshChats."""
    async with namespace(cluster, f"{cluster.namespace}-deletion") as found:
        yield found


async def made(own: Cluster, name: str = "demo", **spec: Any) -> Object:
    """Create an AshChat and wait until all its objects, claims included, exist."""
    body = await own.create("ashchats", idle(name, **spec))
    await complete(own, name)
    return body


async def complete(own: Cluster, name: str = "demo") -> None:
    """Wait until an AshChat has all its objects, and its volumes record their key ring."""

    async def claimed() -> bool:
        claims = {
            item["metadata"]["name"]: item for item in await own.list("persistentvolumeclaims")
        }
        store = claims.get(f"data-{name}-mongodb-0", {"metadata": {}})
        return {store.format(name) for store in STORES} <= set(
            claims
        ) and Annotation.KEY_RING in store["metadata"].get("annotations", {})

    await until(claimed, within=30, what=f"all objects of {name}")


async def condition(own: Cluster, kind: str, name: str = "demo") -> Object:
    """Return a condition of an AshChat; empty if it does not exist."""
    status = (await own.read("ashchats", name)).get("status", {})
    return next((x for x in status.get("conditions", []) if x["type"] == kind), {})


async def says(own: Cluster, reason: str, name: str = "demo") -> None:
    """Wait until an AshChat is Degraded for a reason."""

    async def told() -> bool:
        return bool((await condition(own, ConditionType.DEGRADED, name)).get("reason") == reason)

    await until(told, within=30, what=f"{name} Degraded: {reason}")


async def secrets(own: Cluster, name: str = "demo") -> dict[str, Any]:
    """Return the data of an AshChat's credential Secrets by name."""
    labels = {Label.INSTANCE.value: name}
    return {
        item["metadata"]["name"]: item["data"]
        for item in await own.list("secrets", labels)
        if "ownerReferences" not in item["metadata"]
    }


async def delete(own: Cluster, name: str = "demo") -> None:
    """Delete an AshChat and wait until it and its workloads no longer exist."""
    await own.delete("ashchats", name)
    await gone(own, "ashchats", name)
    for component in ("mongodb", "rabbitmq", "redis"):
        await gone(own, "statefulsets", f"{name}-{component}")


async def note(own: Cluster, *, write: str | None = None) -> str | None:
    """Write a note to the accounts database as the service does; return the stored one."""
    async with AsyncExitStack() as stack:
        uri = await forwarded_uri(own, stack, "auth", "mongodb.uri", 27017)
        client: AsyncMongoClient[Object] = AsyncMongoClient(
            uri, directConnection=True, serverSelectionTimeoutMS=5_000
        )
        stack.push_async_callback(client.close)
        notes = client.get_default_database()["notes"]
        if write is not None:
            await notes.insert_one({"_id": "note", "text": write})
        found = await notes.find_one({"_id": "note"})
        return None if found is None else str(found["text"])


async def test_a_successor_reuses_retained_data_and_credentials(cluster: Cluster) -> None:
    only_mongodb = {"rabbitmq": NO_IMAGE, "redis": NO_IMAGE, "translate": {"replicas": 0}}
    async with namespace(cluster, f"{cluster.namespace}-deletion-data", pods=True) as own:
        spec = {
            "mongodb": (await cluster.resource())["spec"]["mongodb"],
            **only_mongodb,
        }
        spec["translate"]["apertium"] = {"replicas": 0}
        spec["translate"]["cache"] = {"image": NO_IMAGE["managed"]["image"]}

        async def kept(write: str | None = None) -> str | None:
            return await note(own, write=write)

        not_yet = (PyMongoError, ApiError, RuntimeError)
        await own.create("ashchats", idle("demo", **spec))
        await until(
            lambda: kept("of the first"),
            within=120,
            every=1,
            what="the note written",
            ignoring=not_yet,
        )
        before = await secrets(own)
        await delete(own)
        assert await secrets(own) == before, "credentials were deleted with the resource"
        await own.create("ashchats", idle("demo", **spec))
        found = await until(kept, within=120, every=1, what="the note read again", ignoring=not_yet)
        assert found == "of the first"
        assert await secrets(own) == before


async def test_retained_data_without_its_keys_gets_no_new_keys(own: Cluster) -> None:
    await made(own, "lost")
    ring = (await own.read("ashchats", "lost"))["status"]["keyRing"]
    await delete(own, "lost")
    for name in await secrets(own, "lost"):
        await own.delete("secrets", name)
    await own.create("ashchats", idle("lost"))

    async def lost() -> bool:
        message = (await condition(own, ConditionType.DEGRADED, "lost")).get("message", "")
        return "key ring" in message

    await until(lost, within=30, what="the key ring reported as lost")
    assert (await own.read("ashchats", "lost"))["status"]["keyRing"] == ring
    assert await own.find("secrets", "lost-auth-key-ring") is None


async def test_delete_removes_all_its_objects_and_none_of_a_neighbour(
    own: Cluster,
) -> None:
    await made(own, **DELETE)
    await made(own, "demo-auth")
    assert FINALIZER in (await own.read("ashchats", "demo"))["metadata"]["finalizers"]
    before = await belongings(own, "demo-auth")
    await own.delete("ashchats", "demo")
    await gone(own, "ashchats", "demo")

    async def nothing() -> bool:
        return not await belongings(own, "demo")

    await until(nothing, within=30, what="all its objects deleted")
    assert await belongings(own, "demo-auth") == before


@pytest.mark.disruptive
async def test_the_finalizer_follows_the_policy(own: Cluster) -> None:
    await own.create("ashchats", idle("held"))

    async def held(*wanted: str) -> bool:
        body = await own.read("ashchats", "held")
        return body["metadata"].get("finalizers", []) == list(wanted) and "status" in body

    await until(held, within=30, what="no finalizer with Retain")
    others = ["test.dev/one"]
    await own.patch("ashchats", "held", {"metadata": {"finalizers": others}, "spec": DELETE})
    await until(lambda: held(*others, FINALIZER), within=30, what="the finalizer with Delete")
    await own.patch("ashchats", "held", {"spec": {"deletionPolicy": "Retain"}})
    await until(lambda: held(*others), within=30, what="its own finalizer removed")
    await let_go(own, "held")
    # Changing the policy to Retain after the deletion has started keeps the data.
    await own.patch("ashchats", "held", {"metadata": {"finalizers": others}, "spec": DELETE})
    await until(lambda: held(*others, FINALIZER), within=30, what="the finalizer again")
    await complete(own, "held")
    async with operator_away(own):
        await own.delete("ashchats", "held")
        await own.patch("ashchats", "held", {"spec": {"deletionPolicy": "Retain"}})
    await until(lambda: held(*others), within=60, what="the resource released with Retain")
    await let_go(own, "held")
    await gone(own, "ashchats", "held")
    assert await own.find("persistentvolumeclaims", "data-held-mongodb-0") is not None


@pytest.mark.disruptive
async def test_no_namespace_is_stuck_and_without_the_operator_only_delete_waits(
    cluster: Cluster,
) -> None:
    async with (
        namespace(cluster, f"{cluster.namespace}-deletion-held") as held,
        namespace(cluster, f"{cluster.namespace}-deletion-retain") as retain,
        namespace(cluster, f"{cluster.namespace}-deletion-freed") as freed,
        namespace(cluster, f"{cluster.namespace}-deletion-waits") as waits,
    ):
        await asyncio.gather(made(retain), *(made(one, **DELETE) for one in (freed, waits, held)))
        await held.delete("namespaces", held.namespace)
        await gone(held, "ashchats", "demo")
        async with operator_away(cluster):
            for one in (retain, freed):
                await one.delete("namespaces", one.namespace)
            await gone(retain, "namespaces", retain.namespace)
            assert (await freed.read("ashchats", "demo"))["metadata"]["deletionTimestamp"]
            # As in docs/operations/deletion.md.
            await freed.kubectl_run(
                "patch", "ashchat", "demo", "--type=merge", '-p={"metadata":{"finalizers":null}}'
            )
            await gone(freed, "namespaces", freed.namespace)
            # Whatever was deleted first must not block the rest.
            for name in await secrets(waits):
                await waits.delete("secrets", name)
            await waits.delete("statefulsets", "demo-mongodb")
            await waits.delete("ashchats", "demo")
        await gone(waits, "ashchats", "demo")
        await gone(held, "namespaces", held.namespace)

        async def nothing() -> bool:
            return not await belongings(waits, "demo")

        await until(nothing, within=30, what="all its objects deleted")


async def test_foreign_objects_are_reported_and_never_written_to(own: Cluster) -> None:
    secret: Object = {
        "metadata": {"name": "foreign-mongodb-admin"},
        "data": {"password": "bWluZQ=="},
    }
    claim: Object = {
        "metadata": {"name": "data-foreign-mongodb-0"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4Gi"}}},
    }
    service: Object = {"metadata": {"name": "foreign-chat"}, "spec": {"ports": [{"port": 1}]}}
    foreign: list[tuple[str, Object]] = [
        ("secrets", secret),
        ("persistentvolumeclaims", claim),
        ("services", service),
    ]
    before = [await own.create(kind, body) for kind, body in foreign]
    await own.create("ashchats", idle("foreign"))
    await says(own, "NameTaken", "foreign")
    message = (await condition(own, ConditionType.DEGRADED, "foreign"))["message"]
    assert "Secret foreign-mongodb-admin exists and does not belong to this AshChat" in message
    labels = {
        Label.INSTANCE.value: "foreign",
        Label.MANAGED_BY.value: "ashchat-operator",
    }
    assert await own.list("statefulsets", labels) == [], "a password was set that no Secret holds"

    await own.delete("secrets", "foreign-mongodb-admin")

    async def others_made() -> bool:
        return {x["metadata"]["name"] for x in await own.list("statefulsets", labels)} == {
            "foreign-rabbitmq",
            "foreign-redis",
        }

    await until(others_made, within=30, what="the backends without a name conflict")

    async def both_told() -> bool:
        message = (await condition(own, ConditionType.DEGRADED, "foreign"))["message"]
        return (
            "PersistentVolumeClaim data-foreign-mongodb-0" in message
            and "Service foreign-chat" in message
        )

    await until(both_told, within=30, what="both conflicts reported")
    for (kind, body), was in zip(foreign[1:], before[1:], strict=True):
        now = await own.read(kind, body["metadata"]["name"])
        assert now["metadata"]["resourceVersion"] == was["metadata"]["resourceVersion"]

    await own.delete("services", "foreign-chat")
    await own.patch(
        "persistentvolumeclaims", "data-foreign-mongodb-0", {"metadata": {"labels": labels}}
    )
    await complete(own, "foreign")
    await says(own, "UpToDate", "foreign")
