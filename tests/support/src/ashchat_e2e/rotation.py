"""Request rotations and wait for them."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from ashchat_core.api.names import Annotation
from ashchat_core.topology import Service
from ashchat_dev.kube.api import ApiError, path_of
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until

KINDS: Final = ("users", "key-ring", "signing-keys")
LIFE_MINUTES: Final = 1

LONG_AGO: Final = timedelta(days=1)
"""Longer than the lifetime of any token."""

Object = dict[str, Any]


@asynccontextmanager
async def short_lives(cluster: Cluster) -> AsyncIterator[None]:
    """Shorten access tokens' lifetime to a minute, and with it the previous signing key's.

    The annotations that requested rotations are removed at the end.
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
        off = {key: None for key in annotations if key.startswith(Annotation.ROTATE)}
        await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": off}})


async def logins(cluster: Cluster) -> dict[str, str]:
    """Return the services' current usernames and passwords."""
    found = {}
    for service in Service:
        data = await cluster.secret(f"{cluster.name}-{service}-credentials")
        found[data["username"].decode()] = data["password"].decode()
    return found


async def entries(cluster: Cluster) -> dict[str, Object]:
    """Return the entries of `status.rotation` by kind."""
    found = (await cluster.resource())["status"].get("rotation", [])
    return {entry["name"]: entry for entry in found}


async def rotate(cluster: Cluster, *kinds: str) -> str:
    """Request the rotation of these kinds, or of all; return the request's token."""
    token = secrets.token_hex(4)
    annotations = {f"ashchat.dev/rotate{kind and f'-{kind}'}": token for kind in kinds or ("",)}
    await cluster.patch("ashchats", cluster.name, {"metadata": {"annotations": annotations}})
    return token


async def over(
    cluster: Cluster, token: str, kinds: Sequence[str] = KINDS, *, within: float, every: float = 0.2
) -> None:
    """Wait until the rotations with a request's token are completed.

    Raises:
        AssertionError: They are not completed within `within` seconds.
    """

    async def ended() -> bool:
        now = await entries(cluster)
        return all(
            token in now[kind].get("handledTokens", []) and now[kind]["phase"] == "Idle"
            for kind in kinds
        )

    await until(ended, within=within, every=every, what=f"{', '.join(kinds)} rotated")


async def let_tokens_expire(cluster: Cluster, *, within: float) -> None:
    """Wait until the previous signing key waits for its tokens to expire, and backdate that.

    For AshChats without sign-ins: the result is as if a day had passed. The operator reads the
    start of the wait from the status, as it does after a restart.

    Raises:
        AssertionError: The rotation does not get that far within these seconds.
    """

    async def retiring() -> bool:
        return bool((await entries(cluster))["signing-keys"]["phase"] == "Retiring")

    async def dated_back() -> bool:
        body = await cluster.resource()
        for entry in body["status"]["rotation"]:
            if entry["name"] == "signing-keys":
                entry["lastTransitionTime"] = (datetime.now(UTC) - LONG_AGO).strftime(
                    "%Y-%m-%dT%H:%M:%SZ"
                )
        path = path_of("ashchats", cluster.name, cluster.namespace)
        try:
            await cluster.request("PUT", f"{path}/status", json=body)
        except ApiError as error:
            if error.status == HTTPStatus.CONFLICT:
                return False
            raise
        return True

    await until(retiring, within=within, what="the signing keys' rotation waiting for tokens")
    await until(dated_back, within=within, what="the wait backdated")
