"""What the pods of a component say they use: the revision of each credential, never a value."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2

from ashchat_operator.api import Api
from ashchat_operator.model import AshChat
from ashchat_operator.render.common import PRIVATE_PORT, selector

TIMEOUT_SECONDS: Final = 2.0

Object = dict[str, Any]
Reports = Mapping[str, Mapping[str, str]]
"""Pod → credential → the revision it uses; empty for a pod that did not answer."""


async def read(api: Api, ash: AshChat, component: str, *, ending: bool = False) -> Reports:
    """Ask the pods of a component.

    Args:
        api: Knows the pods.
        ash: Whose they are.
        component: Which.
        ending: Ask those as well that are on their way out: they still work.

    Raises:
        RefusedByApiServer: The pods cannot be listed.
    """
    pods = [
        pod
        for pod in await api.list("Pod", ash.namespace, selector(ash, component))
        if pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
        and (ending or "deletionTimestamp" not in pod["metadata"])
    ]
    return await _ask(pods)


async def _ask(pods: Sequence[Object]) -> Reports:
    async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        answers = await asyncio.gather(
            *(_one(client, pod.get("status", {}).get("podIP", "")) for pod in pods)
        )
    return dict(zip((pod["metadata"]["name"] for pod in pods), answers, strict=True))


async def _one(client: httpx2.AsyncClient, address: str) -> Mapping[str, str]:
    if not address:
        return {}
    host = f"[{address}]" if ":" in address else address
    try:
        # 503 as well says what is in use.
        answer = await client.get(f"http://{host}:{PRIVATE_PORT}/readyz")
        found = answer.json()["credentials"]
        return {str(name): str(revision) for name, revision in found.items()}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError):
        return {}
