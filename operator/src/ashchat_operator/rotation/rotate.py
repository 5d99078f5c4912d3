"""One look at all rotations of an AshChat: begin, wait, go on. The border to pods and backends."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ashchat_core.topology import Service
from ashchat_operator import topology
from ashchat_operator.api import Api, RefusedByApiServer
from ashchat_operator.backend import Backend, BackendResult
from ashchat_operator.credentials import Credentials
from ashchat_operator.model import AshChat
from ashchat_operator.render.common import (
    COMPONENT_LABEL,
    MANAGER,
    Context,
    selector,
)
from ashchat_operator.render.secrets import service_files
from ashchat_operator.revisions import PodReporter, lacking, relevant, unaware
from ashchat_operator.rotation import signing, triggers, users
from ashchat_operator.rotation.machine import Kind, Phase, State, advance, begin, rfc3339
from ashchat_operator.rotation.signing import SigningKind
from ashchat_operator.rotation.users import UsersKind
from ashchat_operator.topology import Backends

Object = dict[str, Any]
Wanted = Mapping[str, Mapping[str, str]]
Finding = tuple[str, str, str]

KINDS: Final = (users.NAME, signing.NAME)
CONDITION: Final = "SecretsRotated"

NUDGE_ANNOTATION: Final = "ashchat.dev/credentials-wanted"
NUDGE_SECONDS: Final = 15
"""A pod that knows nothing of the new revision is nudged again after this time."""

_NAMES_MAX: Final = 5


def states(status: Mapping[str, Any]) -> dict[str, State]:
    """Return how far the rotation of each kind is, from a status."""
    return {kind: State.parse(kind, status) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a resource has found, for its rotations."""

    ash: AshChat
    body: Object
    context: Context
    credentials: Credentials
    results: Mapping[Backend, BackendResult]
    backends: Backends
    applied: bool
    """Whether all Secrets and ConfigMaps are as wanted."""
    ready: bool
    """Whether the resource is Ready; no rotation begins before."""
    now: datetime


async def step(api: Api, look: Look, before: Mapping[str, State]) -> dict[str, State]:
    """Return how far the rotations are after this look.

    Raises:
        RefusedByApiServer: The pods cannot be listed.
    """
    return {
        kind.name: await _one(look, kind, before[kind.name]) for kind in _kinds(api, look, before)
    }


async def _one(look: Look, kind: Kind, state: State) -> State:
    wanted = triggers.stamps(look.body["metadata"].get("annotations", {}), kind.name)
    if not state.since:
        # Seen for the first time: what was asked for before there was anything to rotate is
        # answered, and a rotation whose status was lost goes on where nothing is in danger.
        phase = Phase.PROVING if kind.unfinished(state) else Phase.IDLE
        at = rfc3339(look.now)
        started = at if phase is Phase.PROVING else ""
        state = replace(state, phase=phase, since=at, started=started, handled=wanted)
        return replace(state, active=kind.active())
    if state.running:
        says = "waits for its Secrets to be applied"
        if look.applied:
            says = await kind.outstanding(state)
        after = advance(state, says, kind.newcomer(), look.now)
        if after.phase is not Phase.DISTRIBUTING:
            after = replace(after, active=kind.active())
        if after.running and triggers.asked(after, wanted):
            after = replace(after, message=f"{after.message}; asked for again: runs after this")
        return after
    state = replace(state, active=kind.active(), message="")
    if kind.unfinished(state):
        at = rfc3339(look.now)
        return replace(state, phase=Phase.PROVING, since=at, started=at)
    created = datetime.fromisoformat(look.body["metadata"]["creationTimestamp"])
    asked = triggers.asked(state, wanted)
    scheduled = triggers.due(
        look.ash.spec.rotation, state, created=created, uid=look.ash.uid, now=look.now
    )
    if not asked and not scheduled:
        return state
    if not look.ready:
        return replace(state, message="a rotation is wanted; it begins when everything is ready")
    return begin(state, wanted, look.now)


def _kinds(api: Api, look: Look, before: Mapping[str, State]) -> tuple[Kind, ...]:
    def pods(kind: str) -> "_Pods":
        return _Pods(api, look.ash, look.now, before[kind].since)

    async def accepted() -> str:
        where = await topology.accepted(look.backends, look.credentials.former)
        return f"{', '.join(where)} still accepts a former login" if where else ""

    held = look.credentials
    return (
        UsersKind(
            logins=held.logins,
            beside=held.beside,
            results=look.results,
            expected=expected(look.ash, held, look.context),
            lacking=pods(users.NAME).lacking,
            accepted=accepted,
        ),
        SigningKind(
            ring=held.signing_keys,
            token_life=timedelta(minutes=look.ash.spec.auth.access_token_minutes),
            now=look.now,
            lacking=pods(signing.NAME).lacking,
        ),
    )


def expected(ash: AshChat, credentials: Credentials, context: Context) -> Wanted:
    """Return component → credential → revision of all addresses with logins."""
    result = {}
    for service in Service:
        files = service_files(ash, service, credentials, context)
        names = [name.removesuffix(".uri") for name in files if name.endswith(".uri")]
        result[service.value] = {name: files[f"{name}.revision"].decode() for name in names}
    return result


@dataclass(frozen=True, slots=True)
class _Pods:
    """Asks the pods of one AshChat."""

    api: Api
    ash: AshChat
    now: datetime
    since: str
    """When the phase began."""

    async def lacking(self, wanted: Wanted) -> str:
        """Say which pods are not known to use exactly what is wanted; nudge those.

        The kubelet reads mounted Secrets again within a minute or so, and at once when the
        pod changes: an annotation is enough.
        """
        labels = {k: v for k, v in selector(self.ash, "").items() if k != COMPONENT_LABEL}
        found = relevant(await self.api.list("Pod", self.ash.namespace, labels), self.now)
        pods = [pod for pod in found if pod["metadata"]["labels"].get(COMPONENT_LABEL) in wanted]
        async with PodReporter() as reporter:
            reports = await reporter.ask(pods)
        names = lacking(reports, wanted)
        behind = unaware(reports, wanted)
        for pod in pods:
            if pod["metadata"]["name"] in behind:
                await self._nudge(pod, wanted[pod["metadata"]["labels"][COMPONENT_LABEL]])
        if not names:
            return ""
        more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
        return f"waits for {', '.join(names[:_NAMES_MAX])}{more} to change over"

    async def _nudge(self, pod: Mapping[str, Any], wanted: Mapping[str, str]) -> None:
        elapsed = (self.now - datetime.fromisoformat(self.since)).total_seconds()
        words = [*sorted(wanted.items()), self.since, int(elapsed // NUDGE_SECONDS)]
        stamp = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
        metadata = pod["metadata"]
        if metadata.get("annotations", {}).get(NUDGE_ANNOTATION) == stamp:
            return
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            # With the uid: a pod that is gone is not made anew.
            "metadata": {
                **{key: metadata[key] for key in ("name", "namespace", "uid")},
                "annotations": {NUDGE_ANNOTATION: stamp},
            },
        }
        try:
            await self.api.apply(body, MANAGER)
        except RefusedByApiServer:
            return  # It is gone, or we may not: the kubelet comes by itself.


def finding(after: Iterable[State]) -> Finding:
    """Return the condition `SecretsRotated`: status, reason and message."""
    running = [state for state in after if state.running]
    if not running:
        return "True", "Settled", "one credential of each kind is in use, and no other works"
    says = "; ".join(f"{x.name}: {x.phase}{_because(x.message)}" for x in running)
    return "False", "Rotating", says


def _because(message: str) -> str:
    return f" ({message})" if message else ""


def now() -> datetime:
    """Return the time in whole seconds, as the status tells it."""
    return datetime.now(UTC).replace(microsecond=0)


def entries(after: Mapping[str, State]) -> Sequence[Object]:
    """Return `status.rotation`."""
    return [state.entry() for state in after.values()]
