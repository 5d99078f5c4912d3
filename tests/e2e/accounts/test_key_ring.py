"""The key ring for secrets at rest is restored from its copy and never regenerated."""

import pytest

from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
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
