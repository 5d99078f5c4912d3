"""Which of the credentials that people give are used: those that were tried and work. Pure.

A person's Secret is a candidate. What is in use lies in the service's own Secret, beside it
the server that accepted it. So a candidate that is refused changes nothing, and what was
accepted is not tried again, by whichever operator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ashchat_core.api.conditions import ConditionStatus, Finding
from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials.bundle import ProvidedSecret, ProvidedSecrets
from ashchat_operator.resource.model import AshChat, Provider, SecretReference, SmtpSecurity
from ashchat_operator.resource.types import Data

MOVING: Final = frozenset({Reason.TRYING, Reason.DISTRIBUTING})
"""The reasons of the condition that another pass may soon replace."""

GOOGLE_ENDPOINT: Final = "translate.googleapis.com:443"


class ProvidedKind(StrEnum):
    """What a person gives credentials for."""

    SMTP = "smtp"
    GOOGLE = "google"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What trying a candidate showed. The message has no word of the server or the Secret."""

    reason: Reason
    message: str

    @property
    def accepted(self) -> bool:
        """Whether it works."""
        return self.reason is Reason.ACCEPTED


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The mail server of the spec."""

    host: str
    port: int
    security: SmtpSecurity

    def __str__(self) -> str:
        """Return it as an address."""
        return f"{self.security.value.lower()}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class GoogleApi:
    """Google's API as the spec names it."""

    endpoint: str
    project: str
    location: str

    @property
    def parent(self) -> str:
        """What a request is about."""
        return f"projects/{self.project}/locations/{self.location}"

    def __str__(self) -> str:
        """Return it as an address."""
        return f"{self.endpoint}/{self.parent}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A login and the authority its server is trusted by: they are right or wrong together."""

    login: ProvidedSecret | None = None
    ca: ProvidedSecret | None = None

    @property
    def accepted_by(self) -> str:
        """The server that accepted it; empty: none yet."""
        return next((part.accepted_by for part in (self.login, self.ca) if part is not None), "")

    def same(self, other: "Pair") -> bool:
        """Tell whether both hold the same, whatever their revisions."""
        return _data(self.login) == _data(other.login) and _data(self.ca) == _data(other.ca)

    def accepted(self, server: str) -> "Pair":
        """Return it as accepted by a server."""
        login, ca = (
            None if part is None else replace(part, accepted_by=server)
            for part in (self.login, self.ca)
        )
        return Pair(login, ca)


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a person gives for one server."""

    kind: ProvidedKind
    component: str
    server: SmtpServer | GoogleApi
    names: str
    """The Secrets' names, for a person."""
    pair: Pair | None
    """None: a Secret is missing, or a key in it."""
    missing: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What a trial's result is remembered by: the server and the Secrets' versions."""
        parts = (self.pair.login, self.pair.ca) if self.pair is not None else ()
        return (str(self.server), *(part.revision if part else "" for part in parts))


@dataclass(frozen=True, slots=True)
class Decision:
    """What is used, and how the candidate stands."""

    candidate: Candidate
    use: Pair | None
    reason: Reason
    message: str

    @property
    def accepted(self) -> bool:
        """Whether what is given is what is used, and works."""
        return self.reason is Reason.ACCEPTED

    @property
    def blocking(self) -> bool:
        """Whether the component has nothing that works, and will not before somebody acts."""
        works = self.use is not None and self.use.accepted_by == str(self.candidate.server)
        return not works and self.reason is not Reason.TRYING

    @property
    def revision(self) -> str:
        """The revision that pods report when they use it; empty: they report none."""
        return self.use.login.revision if self.use is not None and self.use.login else ""


def candidates(ash: AshChat, provided: ProvidedSecrets) -> dict[ProvidedKind, Candidate]:
    """Return what people give, as far as the resource asks for it."""
    missing = provided.missing or {}
    found: dict[ProvidedKind, Candidate] = {}

    def add(
        kind: ProvidedKind,
        component: str,
        server: SmtpServer | GoogleApi,
        pair: Pair,
        *references: SecretReference | None,
    ) -> None:
        names = list(dict.fromkeys(item.name for item in references if item is not None))
        if names:
            says = missing.get(component, "")
            found[kind] = Candidate(
                kind, component, server, " and ".join(names), None if says else pair, says
            )

    smtp, google = ash.spec.email.smtp, ash.spec.translate.google
    add(
        ProvidedKind.SMTP,
        "email",
        SmtpServer(smtp.host, smtp.port, smtp.security),
        Pair(provided.smtp, provided.smtp_ca),
        smtp.credentials_secret_ref,
        smtp.ca_secret_ref,
    )
    if ash.spec.translate.provider is Provider.GOOGLE and google is not None:
        add(
            ProvidedKind.GOOGLE,
            "translate",
            GoogleApi(google.endpoint or GOOGLE_ENDPOINT, google.project, google.location),
            Pair(provided.google, provided.google_ca),
            google.credentials_secret_ref,
            google.ca_secret_ref,
        )
    return found


def held(kind: ProvidedKind, files: Data) -> Pair:
    """Return what a service's Secret holds of what was given."""
    by = _text(files, f"{kind}.accepted-by")
    login = ca = None
    if kind is ProvidedKind.SMTP and {"smtp.username", "smtp.password"} <= files.keys():
        data = {key: files[f"smtp.{key}"] for key in ("username", "password")}
        login = ProvidedSecret(data, _text(files, "smtp.revision"), by)
    if kind is ProvidedKind.GOOGLE and "google.json" in files:
        data = {"google.json": files["google.json"]}
        login = ProvidedSecret(data, _text(files, "google.revision"), by)
    if f"{kind}-ca.pem" in files:
        ca = ProvidedSecret({"ca.crt": files[f"{kind}-ca.pem"]}, "", by)
    return Pair(login, ca)


def untried(candidate: Candidate, holds: Pair) -> bool:
    """Tell whether it has still to be tried: the server it is for has not accepted it."""
    if candidate.pair is None:
        return False
    return not (candidate.pair.same(holds) and holds.accepted_by == str(candidate.server))


def decide(candidate: Candidate, holds: Pair, verdict: Verdict | None) -> Decision:
    """Return what is used.

    Args:
        candidate: What a person gives.
        holds: What the service's Secret holds.
        verdict: What trying showed; None: not tried yet, or it need not be.
    """
    server = str(candidate.server)
    works = holds if holds.accepted_by == server else None
    pair = candidate.pair
    if pair is None:
        kept = "; what worked stays in use" if works is not None else ""
        return Decision(candidate, works, Reason.SECRET_MISSING, candidate.missing + kept)
    if pair.same(holds):
        pair = holds  # with its revision: a Secret that was only touched changes nothing
    if works is not None and pair is holds:
        says = f"{server} accepts {candidate.names}"
        return Decision(candidate, holds, Reason.ACCEPTED, says)
    if verdict is None:
        says = f"{candidate.names}: being tried at {server}"
        # Where nothing works there is nothing to keep, and pods need their files to start.
        return Decision(candidate, works or pair, Reason.TRYING, says)
    if verdict.accepted:
        says = f"{server} accepts {candidate.names}"
        return Decision(candidate, pair.accepted(server), Reason.ACCEPTED, says)
    kept = "what worked before stays in use" if works is not None else "nothing else is there"
    says = f"{candidate.names} at {server}: {verdict.message}; {kept}"
    return Decision(candidate, works or pair, verdict.reason, says)


def chosen(
    provided: ProvidedSecrets, decisions: Mapping[ProvidedKind, Decision]
) -> ProvidedSecrets:
    """Return what is used in the place of what is given."""
    smtp, google = (
        decisions[kind].use or Pair() if kind in decisions else Pair() for kind in ProvidedKind
    )
    return replace(
        provided, smtp=smtp.login, smtp_ca=smtp.ca, google=google.login, google_ca=google.ca
    )


def condition(decisions: Mapping[ProvidedKind, Decision], waits_for: str = "") -> Finding | None:
    """Return the condition CredentialsAccepted: status, reason, message; None: none is given.

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


def wanted(decisions: Mapping[ProvidedKind, Decision]) -> dict[str, dict[str, str]]:
    """Return component → credential → the revision that its pods are to report."""
    return {
        item.candidate.component: {kind.value: item.revision}
        for kind, item in decisions.items()
        if item.revision
    }


def in_use(decisions: Mapping[ProvidedKind, Decision]) -> Finding:
    """Return the condition of credentials that were accepted and that every pod uses.

    It names their revisions, so a status that says so needs no pod to be asked again.
    """
    says = [
        f"{item.message}{f' (revision {item.revision})' if item.revision else ''}"
        for item in decisions.values()
    ]
    return Finding(ConditionStatus.TRUE, Reason.IN_USE, f"{'; '.join(says)}; every pod uses it")


def _data(part: ProvidedSecret | None) -> dict[str, bytes] | None:
    """Return what counts of a Secret: the rest of its keys is the person's own."""
    keys = ("username", "password", "google.json", "ca.crt")
    return None if part is None else {key: part.data[key] for key in keys if key in part.data}


def _text(files: Data, name: str) -> str:
    return files.get(name, b"").decode("utf-8", "ignore").strip()
