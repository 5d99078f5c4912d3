"""Bring the cluster's objects to what was rendered: apply, correct, prune.

Everything is read first, one list per kind, so that an AshChat in order costs a few reads and no
write.
"""

import asyncio
import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ashchat_core.api.names import OPERATOR, Label
from ashchat_core.api.reasons import Reason
from ashchat_operator.kube import adoption, replicas
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.changes import Change
from ashchat_operator.kube.compare import differs, without_additions
from ashchat_operator.kube.concurrency import gather_limited
from ashchat_operator.kube.errors import CONFLICT, NOT_FOUND, ApiServerError
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.types import Live, Object, ObjectKey

STEPS: Final = (
    ("Secret",),
    ("NetworkPolicy", "ConfigMap", "PersistentVolumeClaim", "Service"),
    ("Deployment", "StatefulSet"),
    ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Ingress", "HTTPRoute"),
)
"""The kinds that are applied together, in order: what a pod mounts comes before the pod, and
Secrets come first, because nothing may be derived from a new Secret before it is stored."""

CHILD_KINDS: Final = tuple(kind for step in STEPS for kind in step)

AT_A_TIME: Final = 8
"""Maximum concurrent writes of one AshChat's objects."""

OPTIONAL_KINDS: Final = frozenset({"HTTPRoute"})
"""Kinds that not every cluster serves."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What one pass found and wrote."""

    live: Live
    """All objects as they are now."""
    changes: tuple[Change, ...]
    """What was written; empty: nothing."""
    problems: tuple[str, ...] = ()
    """What the API server refused, for the user."""
    reason: Reason = Reason.REFUSED
    """Why, as a reason of conditions."""
    stopped: bool = False
    """Whether the pass ended early, because Secrets could not be applied as rendered."""


async def find(api: Api, ash: AshChat) -> Live:
    """Return the objects that carry the labels of an AshChat.

    Raises:
        ApiServerError: They cannot be listed.
    """
    labels: dict[str, str] = {Label.INSTANCE: ash.name, Label.MANAGED_BY: OPERATOR}
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
    except ApiServerError as error:
        # Its definition was deleted since the last discovery.
        if kind in OPTIONAL_KINDS and error.status == NOT_FOUND:
            return []
        raise


async def apply(api: Api, ash: AshChat, desired: Iterable[Object], found: Live) -> Applied:
    """Bring the objects to the desired state, and delete those of ours that are not desired.

    The refusal of one object is reported and does not keep the others from being applied, unless
    it is a Secret: its content may be generated again in the next pass, so nothing else may have
    it before it is stored. An object that is not ours is never written to.

    Raises:
        ApiServerError: The objects cannot be read.
    """
    wanted = {(body["kind"], body["metadata"]["name"]): body for body in desired}
    named = await by_name(api, ash, adoption.missing_claims(tuple(wanted.values()), found))
    live = {**found, **named.ours}
    plan = _Plan(ash, wanted, named.taken, live)
    changes: list[Change] = []
    problems: list[str] = []
    reason = Reason.REFUSED
    for keys in _steps(wanted):
        outcomes = await gather_limited(partial(_try, api, plan), keys, AT_A_TIME)
        for key, outcome in zip(keys, outcomes, strict=True):
            changes += outcome.changes
            problems += outcome.problems
            reason = Reason.NAME_TAKEN if outcome.taken else reason
            if outcome.live is not None:
                live[key] = outcome.live
        if any(outcome.terminating for outcome in outcomes):
            message = f"the namespace {ash.namespace} is being deleted"
            return Applied(
                live, tuple(changes), (message,), Reason.NAMESPACE_TERMINATING, stopped=True
            )
        if keys[0][0] == "Secret" and any(outcome.failed for outcome in outcomes):
            return Applied(live, tuple(changes), tuple(problems), reason, stopped=True)
    for key, body in found.items():
        if key not in wanted and _owned(body, ash) and not _deleting(body):
            await api.delete({**body, "kind": key[0]})
            del live[key]
            changes.append(Change(f"deleted {key[0]} {key[1]}", *key))
    return Applied(live, tuple(changes), tuple(problems), reason)


def _steps(wanted: Mapping[ObjectKey, Object]) -> Iterator[list[ObjectKey]]:
    """Yield the objects that are applied together."""
    for kinds in STEPS:
        if keys := sorted(key for key in wanted if key[0] in kinds):
            yield keys


@dataclass(frozen=True, slots=True)
class _Plan:
    """The inputs of one pass."""

    ash: AshChat
    wanted: Mapping[ObjectKey, Object]
    taken: frozenset[ObjectKey]
    """The claims that belong to something else."""
    live: Live


@dataclass(slots=True)
class _Outcome:
    """The outcome for one object."""

    live: Object | None = None
    changes: list[Change] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    failed: bool = False
    """Whether the object is not as rendered."""
    taken: bool = False
    """Whether an object that is not ours has its name."""
    terminating: bool = False
    """Whether the namespace is being deleted."""


async def _try(api: Api, plan: _Plan, key: ObjectKey) -> _Outcome:
    """Bring one object to its desired state, unless one that is not ours has its name."""
    outcome = _Outcome()
    try:
        there = plan.live.get(key)
        taken = adoption.claims(plan.wanted[key]) & plan.taken
        if there is None and not taken:
            outcome.live = await _make(api, plan, key)
            if outcome.live is not None:
                outcome.changes.append(_applied(key))
                return outcome
            there = await api.get(key[0], plan.ash.namespace, key[1])
            if there is not None and not adoption.is_ours(plan.ash, there):
                taken = frozenset({key})
        if taken:
            problems = [adoption.taken(*other) for other in sorted(taken)]
            return _Outcome(problems=problems, failed=True, taken=True)
        body = await _with_scaler(api, plan, key, there)
        outcome.live = await _bring(api, body, there, outcome.changes)
    except ApiServerError as error:
        outcome.failed = True
        outcome.terminating = error.terminating
        # A conflict: another client wrote in between; the next pass reads the result.
        if error.status != CONFLICT:
            outcome.problems.append(f"{key[0]} {key[1]}: {error}")
    return outcome


def _applied(key: ObjectKey) -> Change:
    return Change(f"applied {key[0]} {key[1]}", *key)


async def _make(api: Api, plan: _Plan, key: ObjectKey) -> Object | None:
    """Create an object that our labels did not find; None: an object of its name exists.

    Its name is not looked up first, because the objects of a new AshChat do not exist.
    """
    body = await _with_scaler(api, plan, key, None)
    try:
        return await api.apply(body, OPERATOR, new=True)
    except ApiServerError as error:
        if error.status != CONFLICT:
            raise
    return None


@dataclass(frozen=True, slots=True)
class Named:
    """The objects that were found by name, not by their labels."""

    ours: Live
    taken: frozenset[ObjectKey]
    """The kinds and names of objects that are not ours."""


async def by_name(api: Api, ash: AshChat, names: Iterable[ObjectKey]) -> Named:
    """Read objects that our labels did not find: the labels were removed, or never set.

    Raises:
        ApiServerError: They cannot be read.
    """
    keys = list(names)
    bodies = await asyncio.gather(*(api.get(kind, ash.namespace, name) for kind, name in keys))
    there = {key: body for key, body in zip(keys, bodies, strict=True) if body is not None}
    ours = {key: body for key, body in there.items() if adoption.is_ours(ash, body)}
    return Named(ours, frozenset(there.keys() - ours.keys()))


async def _with_scaler(api: Api, plan: _Plan, key: ObjectKey, live: Object | None) -> Object:
    """Return the desired object; replicas are handed over first if their manager changes."""
    body, scaler = plan.wanted[key], plan.wanted.get(("HorizontalPodAutoscaler", key[1]))
    if scaler is None or not replicas.autoscaled(body):
        return body
    if live is None:
        return replicas.with_first(body, scaler)
    held = replicas.hand_over(body, live, scaler)
    if held is not None:
        await api.apply(held, replicas.HOLDER)
    return body


async def _bring(api: Api, desired: Object, live: Object | None, changes: list[Change]) -> Object:
    """Bring one object to its desired state and return the result."""
    key = (desired["kind"], desired["metadata"]["name"])
    name = " ".join(key)
    if live is not None and _deleting(live):
        return live  # The next pass after its deletion creates it again.
    body = _with_fixed_fields(desired, live)
    if live is None or differs(body, live):
        live = await api.apply(body, OPERATOR)
        changes.append(_applied(key))
    corrected = without_additions(body, live)
    if corrected is not None:
        kind = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
        live = await api.replace({**corrected, **kind}, OPERATOR)
        changes.append(Change(f"removed additions from {name}", *key))
    return live


def _with_fixed_fields(desired: Object, live: Object | None) -> Object:
    """Return the desired object, with immutable fields as they are.

    The claim templates of a StatefulSet are immutable; volumes grow at the claims.
    """
    if live is None or desired["kind"] != "StatefulSet":
        return desired
    body = copy.deepcopy(desired)
    body["spec"]["volumeClaimTemplates"] = live["spec"].get("volumeClaimTemplates", [])
    return body


def _owned(body: Object, ash: AshChat) -> bool:
    return any(owner["uid"] == ash.uid for owner in body["metadata"].get("ownerReferences", []))


def _deleting(body: Object) -> bool:
    return "deletionTimestamp" in body["metadata"]
