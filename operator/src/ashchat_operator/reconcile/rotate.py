"""Advances all rotations of an AshChat in one pass; the border to pods and backends."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from ashchat_core.api.conditions import ConditionStatus, Finding
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.backends import ensure
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.credentials.bundle import Credentials
from ashchat_operator.credentials.rotation import key_ring, signing_keys, triggers, users
from ashchat_operator.credentials.rotation.key_ring import RotatingKeyRing
from ashchat_operator.credentials.rotation.machine import (
    Phase,
    RotatingCredential,
    RotationState,
    advance,
    begin,
)
from ashchat_operator.credentials.rotation.signing_keys import RotatingSigningKeys
from ashchat_operator.credentials.rotation.users import RotatingUsers
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.clock import rfc3339
from ashchat_operator.reconcile import pod_credentials
from ashchat_operator.reconcile.declare import targets
from ashchat_operator.reconcile.pod_credentials import Wanted, waits_for
from ashchat_operator.render.secrets import service_files
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import ClusterContext
from ashchat_operator.resource.types import Object


def states(status: Mapping[str, Any]) -> dict[str, RotationState]:
    """Return the state of each rotation, from a status."""
    return {kind: RotationState.parse(kind, status) for kind in KINDS}


@dataclass(frozen=True, slots=True)
class RotationPass:
    """What one pass found, for the rotations."""

    ash: AshChat
    context: ClusterContext
    credentials: Credentials
    results: Mapping[Backend, BackendResult]
    applied: bool
    """Whether all objects were applied."""
    ready: bool
    """Whether the resource is Ready; otherwise no rotation begins."""
    now: datetime


async def step(
    api: Api, rotation_pass: RotationPass, before: Mapping[str, RotationState]
) -> dict[str, RotationState]:
    """Return the states of the rotations after this pass.

    Raises:
        ApiServerError: The pods cannot be listed.
    """
    proofs = _Proofs(api, rotation_pass)
    return {
        name: await advance_one(rotation_pass, make(rotation_pass, proofs), before[name])
        for name, make in _FACTORIES.items()
    }


async def advance_one(
    rotation_pass: RotationPass, kind: RotatingCredential, state: RotationState
) -> RotationState:
    """Return the state of one rotation after this pass: it begins, waits, or advances a phase."""
    wanted = triggers.tokens(rotation_pass.ash.annotations, kind.name)
    if not state.last_transition_time:
        # Seen for the first time: requests from before there was anything to rotate count as
        # handled, and a rotation whose status was lost continues at a safe phase.
        phase = Phase.PROVING if kind.unfinished(state) else Phase.IDLE
        at = rfc3339(rotation_pass.now)
        started = at if phase is Phase.PROVING else ""
        state = replace(
            state, phase=phase, last_transition_time=at, start_time=started, handled_tokens=wanted
        )
        return replace(state, active=kind.active())
    if state.running:
        message = "waiting for its Secrets to be applied"
        if rotation_pass.applied:
            message = await kind.outstanding(state)
        after = advance(state, message, kind.newcomer(), rotation_pass.now)
        if after.phase is not Phase.DISTRIBUTING:
            after = replace(after, active=kind.active())
        if after.running and triggers.requested(after, wanted):
            after = replace(
                after, message=f"{after.message}; requested again: another rotation follows"
            )
        return after
    state = replace(state, active=kind.active(), message="")
    if kind.unfinished(state):
        at = rfc3339(rotation_pass.now)
        return replace(state, phase=Phase.PROVING, last_transition_time=at, start_time=at)
    asked = triggers.requested(state, wanted)
    scheduled = triggers.due(
        rotation_pass.ash.spec.rotation,
        state,
        created=rotation_pass.ash.created,
        uid=rotation_pass.ash.uid,
        now=rotation_pass.now,
    )
    if not asked and not scheduled:
        return state
    if not rotation_pass.ready:
        return replace(state, message="requested; the rotation begins when everything is ready")
    return begin(state, wanted, rotation_pass.now)


class _Proofs:
    """The proofs that rotations wait for, from pods and backends."""

    def __init__(self, api: Api, of: RotationPass) -> None:
        self._api = api
        self._of = of

    async def lacking(self, wanted: Wanted) -> str:
        """Return which pods do not use exactly what is wanted; empty: all do."""
        of = self._of
        return waits_for(await pod_credentials.lacking(self._api, of.ash, wanted, of.now))

    async def accepted(self) -> str:
        """Return which backends still accept a former login; empty: none."""
        of = self._of
        every = targets(of.ash, of.context, of.credentials, frozenset(Backend))
        where = await ensure.accepted(every, of.credentials.former)
        return f"{', '.join(where)} still accepts a former login" if where else ""


def _users(of: RotationPass, proofs: _Proofs) -> RotatingCredential:
    return RotatingUsers(
        logins=of.credentials.logins,
        additional=of.credentials.additional,
        results=of.results,
        expected=expected(of.ash, of.credentials, of.context),
        lacking=proofs.lacking,
        accepted=proofs.accepted,
    )


def _signing_keys(of: RotationPass, proofs: _Proofs) -> RotatingCredential:
    return RotatingSigningKeys(
        ring=of.credentials.signing_keys,
        token_life=timedelta(minutes=of.ash.spec.auth.access_token_minutes),
        now=of.now,
        lacking=proofs.lacking,
    )


def _key_ring(of: RotationPass, proofs: _Proofs) -> RotatingCredential:
    return RotatingKeyRing(ring=of.credentials.key_ring, lacking=proofs.lacking)


_FACTORIES: Final[Mapping[str, Callable[[RotationPass, _Proofs], RotatingCredential]]] = {
    users.NAME: _users,
    signing_keys.NAME: _signing_keys,
    key_ring.NAME: _key_ring,
}
"""The credentials that rotate, by name. Everything else follows from the name: triggers, status,
condition, events and metrics."""

KINDS: Final = tuple(_FACTORIES)


def expected(ash: AshChat, credentials: Credentials, context: ClusterContext) -> Wanted:
    """Return component → credential → revision of all addresses with logins."""
    result = {}
    for service in Service:
        files = service_files(ash, service, credentials, context)
        names = [name.removesuffix(".uri") for name in files if name.endswith(".uri")]
        result[service.value] = {name: files[f"{name}.revision"].decode() for name in names}
    return result


def finding(after: Iterable[RotationState]) -> Finding:
    """Return the condition `SecretsRotated`: status, reason and message."""
    running = [state for state in after if state.running]
    if not running:
        return Finding(
            ConditionStatus.TRUE,
            Reason.UP_TO_DATE,
            "one credential of each kind is in use, and no other works",
        )
    message = "; ".join(f"{x.name}: {x.phase}{_because(x.message)}" for x in running)
    return Finding(ConditionStatus.FALSE, Reason.ROTATING, message)


def _because(message: str) -> str:
    return f" ({message})" if message else ""


def entries(after: Mapping[str, RotationState]) -> Sequence[Object]:
    """Return `status.rotation`."""
    return [state.entry() for state in after.values()]
