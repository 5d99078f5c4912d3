"""Users at RabbitMQ, Redis and MongoDB: the generations `a` and `b` alternate.

There are two users at Redis too, not two passwords of one: so the login of a connection can be
identified, and deleting the previous user ends its connections and no others.

Each password is in two Secrets: that of its service, and the one with all logins, which also holds
the next and the previous ones. A password that is in neither is generated if no pod uses it (the
next), and otherwise left at the backends until it is retired (the previous).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ashchat_core.topology import Service
from ashchat_operator.backends.base import Backend, BackendResult, Login
from ashchat_operator.credentials.rotation.machine import NEW_IS_ACTIVE, Phase, RotationState
from ashchat_operator.resource.types import Data

NAME: Final = "users"
GENERATIONS: Final = ("a", "b")


@dataclass(frozen=True, slots=True)
class Users:
    """The logins of all services in a phase of their rotation."""

    logins: Mapping[Service, Login]
    additional: tuple[Login, ...] = ()
    former: tuple[Login, ...] = field(default=(), repr=False)
    retired: tuple[str, ...] = ()


def complete(
    own: Mapping[Service, Data], kept: Data, state: RotationState, generate: Callable[[], str]
) -> Users:
    """Return the logins that the Secrets hold; missing ones are generated if that is safe.

    Args:
        own: Service → the data of its Secret.
        kept: The data of the Secret with all logins.
        state: The state of the rotation.
        generate: Generates a password.
    """
    known = {name: _text(raw) for name, raw in kept.items()}
    for data in own.values():
        if name := _text(data.get("username", b"")):
            known[name] = _text(data.get("password", b"")) or known.get(name, "")
    active = _active(own, known, state)
    other = next(each for each in GENERATIONS if each != active)

    def login(service: Service, generation: str) -> Login:
        name = f"{service}-{generation}"
        return Login(service, name, known.get(name) or generate())

    logins = {service: login(service, active) for service in Service}
    if state.phase is Phase.ADDING:
        return Users(logins, tuple(login(service, other) for service in Service))
    held = tuple(login(service, other) for service in Service if known.get(f"{service}-{other}"))
    retired = tuple(f"{service}-{other}" for service in Service)
    match state.phase:
        case Phase.RETIRING | Phase.VERIFYING:
            return Users(logins, former=held, retired=retired)
        case Phase.IDLE if state.last_transition_time:
            return Users(logins, retired=retired)
        case _:
            # Also when the status was lost and the rotation seems idle: nothing is removed
            # that a pod may still use.
            return Users(logins, additional=held)


def _active(own: Mapping[Service, Data], known: Mapping[str, str], state: RotationState) -> str:
    """Return the generation to use: that of the rotation, else that of most services."""
    if state.phase in NEW_IS_ACTIVE and state.active in GENERATIONS:
        return state.active
    names = [_text(data.get("username", b"")) for data in own.values()]
    found = Counter(name.rpartition("-")[2] for name in names if name)
    if not found and state.active in GENERATIONS:
        return state.active
    found = found or Counter(name.rpartition("-")[2] for name in known)
    likely = [each for each, _ in found.most_common() if each in GENERATIONS]
    return likely[0] if likely else GENERATIONS[0]


@dataclass(frozen=True, slots=True)
class RotatingUsers:
    """The kind `users`; see `machine.RotatingCredential`."""

    logins: Mapping[Service, Login] = field(repr=False)
    additional: Sequence[Login] = field(repr=False)
    results: Mapping[Backend, BackendResult]
    """The results of the backends, as last read back for exactly these users."""
    expected: Mapping[str, Mapping[str, str]]
    """Component → credential → revision, as in the services' Secrets."""
    lacking: Callable[[Mapping[str, Mapping[str, str]]], Awaitable[str]]
    """Asks the pods; returns which of them lack what is expected."""
    accepted: Callable[[], Awaitable[str]]
    """Tries the previous logins; returns where one still works."""
    name: str = NAME

    def active(self) -> str:
        """Return the generation in the services' Secrets."""
        return next(iter(self.logins.values())).username.rpartition("-")[2]

    def newcomer(self) -> str:
        """Return the other generation."""
        return next(each for each in GENERATIONS if each != self.active())

    def unfinished(self, state: RotationState) -> bool:
        """Return whether a rotation was under way when the status was lost."""
        return not state.last_transition_time and bool(self.additional)

    async def outstanding(self, state: RotationState) -> str:
        """Return what the phase waits for."""
        match state.phase:
            case Phase.ADDING | Phase.RETIRING:
                return self._backends()
            case Phase.PROVING:
                return await self.lacking(self.expected)
            case Phase.VERIFYING:
                return self._backends() or await self.accepted()
            case _:
                return ""  # the Secrets were applied before this call

    def _backends(self) -> str:
        waiting = [x.value for x in Backend if x not in self.results or not self.results[x].ready]
        return f"waiting for the users at {', '.join(waiting)}" if waiting else ""


def _text(raw: bytes) -> str:
    return raw.decode("ascii", "ignore").strip()
