"""Rotations, asked for and awaited."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from ashchat_dev.suite.cluster import Cluster
from ashchat_dev.suite.waiting import until

KINDS: Final = ("users", "key-ring", "signing-keys")
LIFE_MINUTES: Final = 1

Object = dict[str, Any]


@asynccontextmanager
async def short_lives(cluster: Cluster) -> AsyncIterator[None]:
    """Let access tokens live for a minute: the former signing key stays for as long.

    Annotations that asked for rotations are taken off at the end.
    """

    async def settled() -> None:
        for component in ("auth", "chat"):
            await cluster.wait_former_gone(component)

    try:
        async with cluster.spec({"auth": {"accessTokenMinutes": LIFE_MINUTES}}):
            await settled()
            yield
        await settled()
    finally:
        annotations = (await cluster.resource())["metadata"].get("annotations", {})
        off = {key: None for key in annotations if key.startswith("ashchat.dev/rotate")}
        await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": off}})


async def entries(cluster: Cluster) -> dict[str, Object]:
    """Return the entries of `status.rotation` by kind."""
    found = (await cluster.resource())["status"].get("rotation", [])
    return {entry["name"]: entry for entry in found}


async def rotate(cluster: Cluster, *kinds: str) -> str:
    """Ask these kinds to rotate, or all; return the stamp."""
    stamp = secrets.token_hex(4)
    annotations = {f"ashchat.dev/rotate{kind and f'-{kind}'}": stamp for kind in kinds or ("",)}
    await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": annotations}})
    return stamp


async def over(
    cluster: Cluster, stamp: str, kinds: Sequence[str] = KINDS, *, within: float, every: float = 0.2
) -> None:
    """Wait until the rotations that answer a stamp are over.

    Raises:
        AssertionError: They are not within these seconds.
    """

    async def ended() -> bool:
        now = await entries(cluster)
        return all(
            stamp in now[kind].get("handled", []) and now[kind]["phase"] == "Idle" for kind in kinds
        )

    await until(ended, within=within, every=every, what=f"{', '.join(kinds)} rotated")
