"""The phases of a rotation, and when one follows the other. Pure; the time is an argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol, Self

from ashchat_operator.kube.clock import rfc3339


class Phase(StrEnum):
    """The phase of a rotation."""

    IDLE = "Idle"
    ADDING = "Adding"
    DISTRIBUTING = "Distributing"
    PROVING = "Proving"
    RETIRING = "Retiring"
    VERIFYING = "Verifying"


ORDER: Final = tuple(Phase)
NEW_IS_ACTIVE: Final = frozenset(ORDER[2:])
"""The phases in which `RotationState.active` is the new one and a previous one may exist."""

_MESSAGE_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class RotationState:
    """The state of one kind's rotation: an entry of `status.rotation`."""

    name: str
    phase: Phase = Phase.IDLE
    last_transition_time: str = ""
    """When the phase began (RFC 3339)."""
    start_time: str = ""
    """When the current or the last rotation began."""
    active: str = ""
    """The credential to use: a generation, a key id, a version."""
    last_rotation_time: str = ""
    handled_tokens: tuple[str, ...] = ()
    """The tokens that the current or the last rotation handled."""
    message: str = ""

    @property
    def running(self) -> bool:
        """Whether a rotation is under way."""
        return self.phase is not Phase.IDLE

    @classmethod
    def parse(cls, name: str, status: Mapping[str, Any]) -> Self:
        """Return a kind's entry of a status; an idle one if absent."""
        for entry in status.get("rotation", ()):
            if entry.get("name") == name and entry.get("phase") in set(Phase):
                return cls(
                    name,
                    Phase(entry["phase"]),
                    entry.get("lastTransitionTime", ""),
                    entry.get("startTime", ""),
                    entry.get("active", ""),
                    entry.get("lastRotationTime", ""),
                    tuple(entry.get("handledTokens", ())),
                    entry.get("message", ""),
                )
        return cls(name)

    def entry(self) -> dict[str, Any]:
        """Return the entry of the status."""
        found = {
            "name": self.name,
            "phase": self.phase.value,
            "lastTransitionTime": self.last_transition_time,
            "startTime": self.start_time,
            "active": self.active,
            "lastRotationTime": self.last_rotation_time,
            "handledTokens": list(self.handled_tokens),
            "message": self.message[:_MESSAGE_MAX],
        }
        return {key: value for key, value in found.items() if value}


class RotatingCredential(Protocol):
    """One kind of credential that rotates."""

    @property
    def name(self) -> str:
        """Its name in status and annotations, in lower case with hyphens."""

    def active(self) -> str:
        """Return the credential that is active in the Secrets now."""

    def newcomer(self) -> str:
        """Return the credential that was added, which becomes active after `Adding`."""

    def unfinished(self, state: RotationState) -> bool:
        """Return whether the Secrets hold a rotation that the status does not record."""

    async def outstanding(self, state: RotationState) -> str:
        """Return what the phase waits for, for the user; empty: it is done.

        It must be derived from the current state, never from what was done: the work of a phase
        is done before this call, and repeated in every pass.
        """


def begin(state: RotationState, tokens: Sequence[str], now: datetime) -> RotationState:
    """Return the state with which a rotation begins that handles these tokens."""
    at = rfc3339(now)
    return replace(
        state,
        phase=Phase.ADDING,
        last_transition_time=at,
        start_time=at,
        handled_tokens=tuple(tokens),
        message="",
    )


def advance(state: RotationState, outstanding: str, newcomer: str, now: datetime) -> RotationState:
    """Return the state of a running rotation after a pass.

    Args:
        state: The state before.
        outstanding: What the phase waits for; empty: it is done.
        newcomer: The credential that becomes active when `Adding` is done.
        now: The time of a transition that happens now.
    """
    if outstanding:
        return replace(state, message=outstanding)
    at = rfc3339(now)
    following = ORDER[(ORDER.index(state.phase) + 1) % len(ORDER)]
    after = replace(state, phase=following, last_transition_time=at, message="")
    if following is Phase.DISTRIBUTING:
        return replace(after, active=newcomer)
    if following is Phase.IDLE:
        return replace(after, last_rotation_time=at)
    return after
