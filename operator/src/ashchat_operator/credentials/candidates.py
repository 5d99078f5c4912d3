"""Which user-provided credentials are used: those that were tried and work. Pure.

A user's Secret is a candidate. What is in use is stored in the service's own Secret, together with
the server that accepted it. So a candidate that is refused changes nothing, and an accepted one is
not tried again, by whichever operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from ashchat_core.api.conditions import ConditionStatus, Finding
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.resource.types import Data

MOVING: Final = frozenset({Reason.TRYING, Reason.DISTRIBUTING})
"""The reasons of the condition CredentialsAccepted that a later pass may soon replace."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of trying a candidate. The message quotes neither server nor Secret."""

    reason: Reason
    message: str

    @property
    def accepted(self) -> bool:
        """Whether it works."""
        return self.reason is Reason.ACCEPTED


@dataclass(frozen=True, slots=True)
class ProvidedSecret:
    """The part of a user's Secret that is used, and a revision that changes with the Secret."""

    data: Data = field(repr=False)
    revision: str
    accepted_by: str = ""
    """The server that accepted it when it was tried; empty: none yet."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A login and the certificate authority of its server: they work or fail together."""

    login: ProvidedSecret | None = None
    ca: ProvidedSecret | None = None

    @property
    def accepted_by(self) -> str:
        """The server that accepted the pair; empty: none yet."""
        return next((part.accepted_by for part in (self.login, self.ca) if part is not None), "")

    def same(self, other: "Pair") -> bool:
        """Return whether both hold the same data, whatever their revisions."""
        return _data(self.login) == _data(other.login) and _data(self.ca) == _data(other.ca)

    def accepted(self, server: str) -> "Pair":
        """Return the pair as accepted by a server."""
        login, ca = (
            None if part is None else replace(part, accepted_by=server)
            for part in (self.login, self.ca)
        )
        return Pair(login, ca)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a user provides for one server."""

    kind: str
    """The name of the user-provided credential."""
    service: Service
    server: str
    """The server to try it at, as text."""
    secrets: str
    """The names of the Secrets, for messages."""
    pair: Pair | None
    """None: a Secret is missing, or a key in it."""
    missing: str = ""
    """What the user must do about it."""

    @property
    def key(self) -> tuple[str, ...]:
        """What the result of a trial belongs to: the server and the Secrets' revisions."""
        parts = (self.pair.login, self.pair.ca) if self.pair is not None else ()
        return (self.server, *(part.revision if part else "" for part in parts))


@dataclass(frozen=True, slots=True)
class Decision:
    """Which pair is used, and the state of the candidate."""

    candidate: Candidate
    use: Pair | None
    reason: Reason
    message: str

    @property
    def accepted(self) -> bool:
        """Whether the candidate is the pair in use, and works."""
        return self.reason is Reason.ACCEPTED

    @property
    def blocking(self) -> bool:
        """Whether the service has no pair that works, and will not until the user acts."""
        works = self.use is not None and self.use.accepted_by == self.candidate.server
        return not works and self.reason is not Reason.TRYING

    @property
    def revision(self) -> str:
        """The revision that pods report when they use it; empty: they report none."""
        return self.use.login.revision if self.use is not None and self.use.login else ""


def untried(candidate: Candidate, held: Pair) -> bool:
    """Return whether a candidate must be tried: its server has not accepted it yet.

    Args:
        candidate: What the user provides.
        held: What the service's Secret holds.
    """
    pair = candidate.pair
    return pair is not None and not (pair.same(held) and held.accepted_by == candidate.server)


def decide(candidate: Candidate, held: Pair, verdict: Verdict | None) -> Decision:
    """Return what is used.

    Args:
        candidate: What the user provides.
        held: What the service's Secret holds.
        verdict: The result of trying it; None: not tried yet, or no need to.
    """
    server = candidate.server
    works = held if held.accepted_by == server else None
    pair = candidate.pair
    if pair is None:
        kept = "; the previous credential stays in use" if works is not None else ""
        return Decision(candidate, works, Reason.SECRET_MISSING, candidate.missing + kept)
    if pair.same(held):
        pair = held  # with its revision: a Secret that was only touched changes nothing
    if works is not None and pair is held:
        return Decision(candidate, held, Reason.ACCEPTED, f"{server} accepts {candidate.secrets}")
    if verdict is None:
        # If nothing works there is nothing to keep, and pods need their files to start.
        message = f"{candidate.secrets}: being tried at {server}"
        return Decision(candidate, works or pair, Reason.TRYING, message)
    if verdict.accepted:
        message = f"{server} accepts {candidate.secrets}"
        return Decision(candidate, pair.accepted(server), Reason.ACCEPTED, message)
    kept = (
        "the previous credential stays in use"
        if works is not None
        else "there is no other credential"
    )
    message = f"{candidate.secrets} at {server}: {verdict.message}; {kept}"
    return Decision(candidate, works or pair, verdict.reason, message)


def condition(decisions: Mapping[str, Decision], waits_for: str = "") -> Finding | None:
    """Return the condition CredentialsAccepted; None: the user provides nothing.

    Args:
        decisions: What is used.
        waits_for: What has to happen until every pod uses it; empty: nothing.
    """
    if not decisions:
        return None
    for status in (ConditionStatus.FALSE, ConditionStatus.UNKNOWN):
        for item in decisions.values():
            trying = item.reason is Reason.TRYING
            if not item.accepted and trying == (status is ConditionStatus.UNKNOWN):
                return Finding(status, item.reason, item.message)
    if waits_for:
        return Finding(ConditionStatus.TRUE, Reason.DISTRIBUTING, f"accepted; {waits_for}")
    return in_use(decisions)


def in_use(decisions: Mapping[str, Decision]) -> Finding:
    """Return the condition of credentials that were accepted and that every pod uses.

    It names their revisions, so that no pod needs to be asked again under such a status.
    """
    accepted = [
        f"{item.message}{f' (revision {item.revision})' if item.revision else ''}"
        for item in decisions.values()
    ]
    return Finding(ConditionStatus.TRUE, Reason.IN_USE, f"{'; '.join(accepted)}; every pod uses it")


def wanted(decisions: Mapping[str, Decision]) -> dict[str, dict[str, str]]:
    """Return component → credential → the revision that its pods must report."""
    return {
        item.candidate.service.value: {kind: item.revision}
        for kind, item in decisions.items()
        if item.revision
    }


def _data(part: ProvidedSecret | None) -> Data | None:
    return None if part is None else part.data
