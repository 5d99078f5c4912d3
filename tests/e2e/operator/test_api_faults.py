"""Any call of the operator to the API server may fail, in any way: the operator converges.

The operator of this working tree runs behind a proxy (`ashchat_e2e.fault_proxy`) that fails one
call during an AshChat's life: while it is created, while drift is repaired, or while it is
deleted.
The cluster's operator excludes these namespaces. Each fault meets one call that the seed draws;
ASHCHAT_API_FAULTS=each fails every call once (as `make soak`), =all in all six ways.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest
import pytest_asyncio

from ashchat_core.api.names import Annotation
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.suite_namespaces import SCOPED
from ashchat_dev.waiting import until
from ashchat_e2e.fault_proxy import WATCH_SILENCE_S, Fault, Proxy, Tried, proxied
from ashchat_e2e.sampling import whole
from ashchat_e2e.temporary_namespace import KINDS, belongings, gone, idle, of

pytestmark = pytest.mark.slow

Object = dict[str, Any]

PARALLEL: Final = 6 if whole() else 3
"""Maximum concurrent AshChats, each in a separate namespace."""

WITHIN_S: Final = 60.0
"""For one part of a life: an unanswered call costs 20 s, the next reconcile pass 5 s more."""

EVENTS: Final = 6
"""More than these in one life would be event spam: NotReady, Degraded and back."""

SILENT_S: Final = WATCH_SILENCE_S + 30.0
"""Until a watch on which nothing arrived, not even a bookmark, was reopened and answered."""

NAME: Final = "demo"
OTHER: Final = "other"
KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,}")
"""A signing key's file is named after its digest."""

PARTS: Final = ("making", "repair", "deletion")


@dataclass(frozen=True)
class Case:
    """Which call fails, and how."""

    part: str
    number: int
    fault: Fault


@dataclass
class Field:
    """The test environment of this module."""

    proxy: Proxy
    places: list[Cluster]
    calls: dict[str, list[str]] = field(default_factory=dict)
    reference: dict[str, Object] = field(default_factory=dict)


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def ground(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Field]:
    """Provide an operator behind the proxy, and namespaces without pods for it to reconcile."""
    names = SCOPED[:PARALLEL]
    folder = tmp_path_factory.mktemp("operator")
    async with proxied(cluster, names, folder) as (proxy, places):
        found = Field(proxy, places)
        await whole_life(found, places[0], None, remember=True)
        yield found


def masked(body: Object, place: str) -> Object:
    """Return an object without the parts that differ between two lives."""
    metadata = body["metadata"]
    annotations = {
        key: value
        for key, value in metadata.get("annotations", {}).items()
        if key != Annotation.KEY_RING
    }
    spec = {
        key: value
        for key, value in body.get("spec", {}).items()
        if key not in {"clusterIP", "clusterIPs", "volumeName"}
    }
    says = {
        "labels": metadata["labels"],
        "annotations": annotations,
        "owners": [owner["name"] for owner in metadata.get("ownerReferences", [])],
        "keys": sorted(KEY_ID.sub("KEY", key) for key in body.get("data", {})),
        "spec": spec,
    }
    text = json.dumps(says).replace(place, "NAMESPACE")
    again: Object = json.loads(text)
    template = again["spec"].get("template", {}).get("metadata", {})
    template.get("annotations", {}).pop(Annotation.ADMIN_REVISION, None)
    template.pop("creationTimestamp", None)
    return again


async def snapshot(own: Cluster) -> Object:
    """Return the AshChat's objects."""
    return {
        f"{kind}/{item['metadata']['name']}": masked(item, own.namespace)
        for kind in KINDS
        for item in await own.list(kind, of(NAME))
    }


async def converged(found: Field, own: Cluster, part: str, *, remember: bool) -> None:
    """Wait until nothing more is written and all objects are as without the fault."""
    traffic = found.proxy.traffic[own.namespace]
    await until(
        traffic.settled,
        within=WITHIN_S,
        every=0.1,
        what=f"two reconcile passes without a write ({part})",
    )
    if remember:
        found.calls[part] = traffic.distinct()
        found.reference[part] = await snapshot(own)
        return

    async def as_without() -> bool:
        return await snapshot(own) == found.reference[part]

    try:
        await until(as_without, within=10, every=0.5, what="the same objects as without a fault")
    except AssertionError as error:
        now, then = await snapshot(own), found.reference[part]
        other = [key for key in {*now, *then} if now.get(key) != then.get(key)]
        raise AssertionError(f"differs from the run without a fault: {sorted(other)}") from error


async def drift(own: Cluster) -> None:
    """Change and delete objects that the operator must repair."""
    await own.patch("deployments", f"{NAME}-chat", {"spec": {"replicas": 2}})
    await own.delete("services", f"{NAME}-auth")
    await own.delete("configmaps", f"{NAME}-jwks")
    await own.delete("secrets", f"{NAME}-email-credentials")


async def whole_life(
    found: Field, own: Cluster, case: Case | None, *, remember: bool = False
) -> bool:
    """Create an AshChat, let it be repaired, delete it, with one fault; check it after each part.

    Returns:
        Whether the call occurred: the number of reconcile passes in a part varies with timing.
    """
    came = case is None
    traffic = found.proxy.traffic[own.namespace]

    def begin(part: str) -> None:
        if case is not None and case.part == part:
            traffic.begin(case.number, case.fault)
        else:
            traffic.begin()

    def happened(part: str) -> None:
        nonlocal came
        if case is not None and case.part == part:
            came = bool(traffic.failed)

    begin("making")
    made = await own.create("ashchats", idle(NAME, deletionPolicy="Delete"))
    await converged(found, own, "making", remember=remember)
    happened("making")
    if case is None or case.part == "repair":
        begin("repair")
        await drift(own)
        await converged(found, own, "repair", remember=remember)
        happened("repair")
    begin("deletion")
    await own.delete("ashchats", NAME)
    await gone(own, "ashchats", NAME, within=WITHIN_S)
    happened("deletion")
    if remember:
        found.calls["deletion"] = list(traffic.calls)

    async def nothing() -> bool:
        return not await belongings(own, NAME)

    await until(nothing, within=30, what="all its objects deleted")
    events = [
        event
        for event in await own.list("events")
        if event["involvedObject"].get("uid") == made["metadata"]["uid"]
    ]
    assert len(events) <= EVENTS, [event["message"] for event in events]
    return came


def cases(found: Field) -> list[Case]:
    """Return the cases to try."""
    counts = {part: len(found.calls[part]) for part in PARTS}
    return [Case(*case) for case in Tried.wanted().cases(counts)]


async def on_all(
    found: Field, todo: list[Case], life: Callable[[Cluster, Case], Awaitable[bool]]
) -> list[str]:
    """Run lives concurrently; return which failed, and how."""
    queue, failures = list(reversed(todo)), []

    async def worker(own: Cluster) -> None:
        while queue:
            case = queue.pop()
            try:
                if not await life(own, case):
                    queue.append(replace(case, number=case.number * 2 // 3))
            except AssertionError as error:
                call = found.proxy.traffic[own.namespace].failed
                failures.append(f"{case.part} #{case.number} ({call}) {case.fault}: {error}")
                return  # its leftovers would affect the next life

    await asyncio.gather(*(worker(own) for own in found.places))
    return failures + [f"not tried: {len(queue)}"] * bool(queue)


async def test_whichever_call_fails_it_converges(
    ground: Field, measure: Callable[[str, float], None]
) -> None:
    todo = cases(ground)
    began = time.monotonic()
    failures = await on_all(ground, todo, lambda own, case: whole_life(ground, own, case))
    measure(f"{len(todo)} lives with one failed call each", time.monotonic() - began)
    assert not failures, "\n".join(failures)


async def noticed(own: Cluster, *, within: float) -> None:
    """Create a new AshChat, and wait until it is reconciled: only a watch can report it.

    Known AshChats are reconciled periodically, independently of the watches.
    """
    await own.create("ashchats", idle(OTHER, deletionPolicy="Retain"))

    async def reconciled_once() -> bool:
        return bool((await own.read("ashchats", OTHER)).get("status"))

    await until(reconciled_once, within=within, what="a new AshChat is reconciled")
    await own.delete("ashchats", OTHER)
    await gone(own, "ashchats", OTHER, within=30)


async def test_drift_is_repaired_although_every_watch_is_silent(ground: Field) -> None:
    own = ground.places[0]
    ground.proxy.traffic[own.namespace].begin()
    await own.create("ashchats", idle(NAME, deletionPolicy="Delete"))
    await converged(ground, own, "making", remember=False)
    assert ground.proxy.silence(own.namespace) >= len(KINDS)
    ground.proxy.traffic[own.namespace].begin()
    await drift(own)
    await converged(ground, own, "repair", remember=False)


async def test_a_new_resource_is_reconciled_although_every_watch_fell_silent(ground: Field) -> None:
    own = ground.places[0]
    assert ground.proxy.silence(own.namespace) >= len(KINDS)
    await noticed(own, within=SILENT_S)


async def test_watches_recover_after_refusals(ground: Field) -> None:
    own = ground.places[0]
    ground.proxy.refusing[own.namespace] = 2 * ground.proxy.expire(own.namespace)
    await noticed(own, within=60)
    assert not ground.proxy.refusing[own.namespace]


async def test_expired_watches_are_reopened(ground: Field) -> None:
    own, traffic = ground.places[0], ground.proxy.traffic[ground.places[0].namespace]
    open_ones = ground.proxy.expire(own.namespace)
    assert open_ones > len(KINDS)

    def reopened() -> bool:
        return ground.proxy.listening(own.namespace) >= open_ones

    await until(reopened, within=30, what="every watch reopened")
    await noticed(own, within=30)
    traffic.begin()
    await drift(own)
    await converged(ground, own, "repair", remember=False)
    traffic.begin()
    await own.delete("ashchats", NAME)
    await gone(own, "ashchats", NAME, within=30)
