"""Bring the cluster's objects to what was rendered: apply, correct, prune.

Everything is read first, one list per kind, so an AshChat in order costs a few reads and
no write.
"""

import asyncio
import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ashchat_operator.api import CONFLICT, NOT_FOUND, Api, RefusedByApiServer
from ashchat_operator.compare import differs, without_additions
from ashchat_operator.model import AshChat
from ashchat_operator.render.common import INSTANCE_LABEL, MANAGED_BY_LABEL, MANAGER

Object = dict[str, Any]

CHILD_KINDS: Final = (
    "NetworkPolicy",
    "ConfigMap",
    "Secret",
    "PersistentVolumeClaim",
    "Service",
    "Deployment",
    "StatefulSet",
    "Ingress",
    "HTTPRoute",
)
"""In the order they are applied: what a pod mounts comes before the pod."""

OPTIONAL_KINDS: Final = frozenset({"HTTPRoute"})
"""Kinds that not every cluster knows."""

Live = Mapping[tuple[str, str], Object]
"""The objects found, by kind and name."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one run found and wrote."""

    live: Live
    """All objects as they are now."""
    changes: tuple[str, ...]
    """What was written, for example "applied Deployment demo-chat"; empty: no write."""
    problems: tuple[str, ...] = ()
    """What the API server refused, for a person."""


async def find(api: Api, ash: AshChat) -> Live:
    """Return the objects that bear the labels of an AshChat.

    Raises:
        RefusedByApiServer: They cannot be listed.
    """
    labels = {INSTANCE_LABEL: ash.name, MANAGED_BY_LABEL: MANAGER}
    lists = await asyncio.gather(*(_listed(api, kind, ash, labels) for kind in CHILD_KINDS))
    return {
        (kind, item["metadata"]["name"]): item
        for kind, items in zip(CHILD_KINDS, lists, strict=True)
        for item in items
    }


async def _listed(api: Api, kind: str, ash: AshChat, labels: Mapping[str, str]) -> list[Object]:
    if kind in OPTIONAL_KINDS and not await api.serves(kind):
        return []
    try:
        return await api.list(kind, ash.namespace, labels)
    except RefusedByApiServer as error:
        # Its definition went since it was last asked for.
        if kind in OPTIONAL_KINDS and error.status == NOT_FOUND:
            return []
        raise


async def apply(api: Api, ash: AshChat, desired: Iterable[Object], found: Live) -> Applied:
    """Bring the objects to what is desired, and delete those of ours that are not.

    One object's refusal is reported and does not keep the others from being applied.
    """
    wanted = {(body["kind"], body["metadata"]["name"]): body for body in desired}
    live = dict(found)
    changes: list[str] = []
    problems: list[str] = []
    for key in sorted(wanted, key=lambda key: (CHILD_KINDS.index(key[0]), key[1])):
        try:
            live[key] = await _bring(api, wanted[key], live.get(key), changes)
        except RefusedByApiServer as error:
            # A conflict: somebody wrote in between; the next look sees what.
            if error.status != CONFLICT:
                problems.append(f"{key[0]} {key[1]}: {error}")
    for key, body in found.items():
        if key not in wanted and _owned(body, ash) and not _going(body):
            await api.delete({**body, "kind": key[0]})
            del live[key]
            changes.append(f"deleted {key[0]} {key[1]}")
    return Applied(live, tuple(changes), tuple(problems))


async def _bring(api: Api, desired: Object, live: Object | None, changes: list[str]) -> Object:
    """Bring one object to what is desired and return it as it is then."""
    says = f"{desired['kind']} {desired['metadata']['name']}"
    if live is not None and _going(live):
        return live  # The next look, after it is gone, makes it anew.
    body = _with_fixed_fields(desired, live)
    if live is None or differs(body, live):
        live = await api.apply(body, MANAGER)
        changes.append(f"applied {says}")
    corrected = without_additions(body, live)
    if corrected is not None:
        kind = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
        live = await api.replace({**corrected, **kind}, MANAGER)
        changes.append(f"took out of {says} what was added to it")
    return live


def _with_fixed_fields(desired: Object, live: Object | None) -> Object:
    """Return what is desired, with what may not change after creation as it is.

    A StatefulSet's claim templates are fixed; larger volumes are asked for at the claims.
    """
    if live is None or desired["kind"] != "StatefulSet":
        return desired
    body = copy.deepcopy(desired)
    body["spec"]["volumeClaimTemplates"] = live["spec"].get("volumeClaimTemplates", [])
    return body


def _owned(body: Object, ash: AshChat) -> bool:
    return any(owner["uid"] == ash.uid for owner in body["metadata"].get("ownerReferences", []))


def _going(body: Object) -> bool:
    return "deletionTimestamp" in body["metadata"]
