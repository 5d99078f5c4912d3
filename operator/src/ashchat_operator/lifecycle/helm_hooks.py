"""The hooks of the chart: `helm test`, and the wait before an uninstall."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2

from ashchat_core.api.names import FINALIZER, KIND
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.settings import Settings

POLL_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 10.0


class UnhealthyError(Exception):
    """The operator is not healthy, or still needed; the text says what to do."""


async def check(settings: Settings, address: str) -> str:
    """Return a message that the operator is healthy.

    Args:
        settings: The namespaces that the operator watches.
        address: The operator's /readyz.

    Raises:
        UnhealthyError: It is not healthy, or does not answer.
    """
    try:
        async with httpx2.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as client:
            answer = await client.get(address)
    except httpx2.TransportError as error:
        raise UnhealthyError(
            f"{address} does not answer: {error!r}; check that one of its pods is Ready"
        ) from error
    if answer.status_code != httpx2.codes.OK:
        raise UnhealthyError(f"the operator is not ready: {answer.text}")
    found = await _ashchats(settings)
    return f"the operator is ready and may read {KIND}s; found {len(found)}"


async def drain(settings: Settings) -> None:
    """Wait until no AshChat needs the operator any more; the caller limits the time.

    Raises:
        UnhealthyError: An AshChat that is not being deleted needs it.
    """
    while True:
        pending = [
            body
            for body in await _ashchats(settings)
            if FINALIZER in body["metadata"].get("finalizers", [])
        ]
        kept = [name(body) for body in pending if "deletionTimestamp" not in body["metadata"]]
        if kept:
            raise UnhealthyError(
                f"deletionPolicy Delete of {', '.join(kept)} can only be carried out by the "
                "operator: delete them first, or give them deletionPolicy Retain"
            )
        if not pending:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _ashchats(settings: Settings) -> Sequence[dict[str, Any]]:
    try:
        async with await Api.connect() as api:
            lists = [await api.list(KIND, where) for where in settings.namespaces or (None,)]
    except ApiServerError as error:
        raise UnhealthyError(f"{KIND}s cannot be listed: {error}") from error
    found = [body for items in lists for body in items]
    return [body for body in found if body["metadata"]["namespace"] not in settings.excluded]


def name(body: Mapping[str, Any]) -> str:
    """Return an object's namespace and name."""
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"
