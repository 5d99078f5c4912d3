"""The key ring for secrets at rest is restored from its copy and never regenerated."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from ashchat_auth.models import TwoFactor, User
from ashchat_auth.service.resealing import PAGE_ACCOUNTS
from ashchat_auth.store.base import document
from ashchat_auth.store.factors import MongoFactors
from ashchat_core.mongo import Mongo
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.backends import MongoAs
from ashchat_e2e.outages import operator_away
from ashchat_e2e.people import PersonFactory


async def ring(cluster: Cluster, suffix: str = "") -> dict[str, bytes] | None:
    """Return the key ring's Secret or its copy, None if absent."""
    try:
        return await cluster.secret(f"{cluster.name}-auth-key-ring{suffix}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def test_a_deleted_key_ring_is_restored(cluster: Cluster) -> None:
    before = await ring(cluster)
    assert before is not None
    assert before == await ring(cluster, "-copy")
    for suffix in ("", "-copy"):
        await cluster.delete("secrets", f"{cluster.name}-auth-key-ring{suffix}")

        async def restored(suffix: str = suffix) -> bool:
            return await ring(cluster, suffix) == before

        await until(restored, within=30, what=f"the key ring{suffix} restored")


@pytest.mark.disruptive
async def test_a_key_ring_lost_with_its_copy_is_reported_and_only_blocks_two_factor(
    cluster: Cluster, person: PersonFactory
) -> None:
    before = await ring(cluster)
    assert before is not None
    ana = await person()
    assert "keyRing" in (await cluster.resource())["status"]
    names = [f"{cluster.name}-auth-key-ring{suffix}" for suffix in ("", "-copy")]
    body = await cluster.read("secrets", names[0])

    async def lost() -> bool:
        status = (await cluster.resource()).get("status", {})
        return any(item["reason"] == "KeyRingLost" for item in status.get("components", []))

    try:
        async with operator_away(cluster):
            for name in names:
                await cluster.delete("secrets", name)
        await until(lost, within=60, what="KeyRingLost reported for auth")
        assert await ring(cluster) is None, "a new key ring was generated in its place"
        assert (await ana.signin()).status == 200
    finally:
        await cluster.create(
            "secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": names[0], "labels": body["metadata"]["labels"]},
                "data": body["data"],
            },
        )
    await cluster.wait_ready(within=60)
    assert await ring(cluster) == await ring(cluster, "-copy") == before


async def test_sealed_secrets_of_a_version_are_found_in_pages_by_an_index(
    mongo_as: MongoAs,
) -> None:
    database = await mongo_as("auth")
    store = MongoFactors(cast("Mongo", SimpleNamespace(database=database)))
    version = f"test{uuid4().hex}"
    now = datetime.now(UTC)

    def account(number: int) -> dict[str, Any]:
        user = User(
            id=f"{version}.{number}",
            email="x@example.org",
            email_key=f"{version}.{number}",
            name="x",
            password_hash="x",
            preferred_language="en",
            created_at=now,
            two_factor=TwoFactor(secret=f"{version}.{number:04}", last_step=0, at=now),
        )
        return document(user)

    number = PAGE_ACCOUNTS + 1
    await database["users"].insert_many([account(one) for one in range(number)])
    try:
        assert await store.count_sealed("two_factor", version) == number
        assert await store.count_sealed("enrolment", version) == 0
        found: list[str] = []
        while page := await store.sealed_page("two_factor", version, found[-1] if found else ""):
            assert len(page) <= PAGE_ACCOUNTS
            found += [user.two_factor.secret for user in page if user.two_factor]
        assert found == [f"{version}.{one:04}" for one in range(number)]
        await store.reseal(f"{version}.0", "two_factor", found[0], "moved")
        assert await store.count_sealed("two_factor", version) == number - 1
        names = set(await database["users"].index_information())
        assert {"two_factor.secret_1", "enrolment.secret_1"} <= names
    finally:
        await database["users"].delete_many({"_id": {"$regex": f"^{version}"}})
