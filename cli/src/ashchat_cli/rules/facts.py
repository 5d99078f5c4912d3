"""What the rules of the doctor examine, and what they find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ashchat_cli.objects import Depth, Object


class Severity(StrEnum):
    """The severity of a finding."""

    ERROR = "error"
    """Something does not work."""
    WARNING = "warning"
    """It works, but needs attention."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, for the user."""

    rule: str
    severity: Severity
    what: str
    why: str
    do: str
    """A command, or what else to do."""

    def data(self) -> Object:
        """Return the finding as data."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "what": self.what,
            "why": self.why,
            "do": self.do,
        }


@dataclass(frozen=True, slots=True)
class Web:
    """The response of the public address."""

    url: str
    problem: str = ""
    """Why it does not respond; empty: it does."""
    expires: datetime | None = None
    """When its certificate expires; None: it has none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read; None, or a missing key, for what was not."""

    now: datetime
    """This machine's clock."""
    server: datetime | None = None
    """The API server's clock, at the same moment."""
    resource: Object | None = None
    crd: Object | bool | None = None
    """False: it does not exist."""
    operators: Sequence[Object] | None = None
    leases: Sequence[Object] | None = None
    nodes: Mapping[str, datetime] = field(default_factory=dict)
    """When each node last renewed its Lease, by the node's clock."""
    pods: Sequence[Object] = ()
    claims: Sequence[Object] = ()
    policies: Sequence[Object] = ()
    secrets: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    """Name → its keys; None: it does not exist."""
    depths: Mapping[str, Depth | None] | None = None
    held: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Component → queue → messages held, because a dependency is unavailable."""
    mail: Mapping[str, float] = field(default_factory=dict)
    """Outcome → the number of email's connections to the mail server since it started."""
    web: Web | None = None
    skipped: Sequence[str] = ()

    @property
    def namespace(self) -> str:
        """Return the AshChat's."""
        return str((self.resource or {}).get("metadata", {}).get("namespace", ""))

    @property
    def name(self) -> str:
        """Return the AshChat's."""
        return str((self.resource or {}).get("metadata", {}).get("name", ""))

    @property
    def spec(self) -> Object:
        """Return the spec."""
        found: Object = (self.resource or {}).get("spec", {})
        return found

    def conditions(self) -> dict[str, Object]:
        """Return the AshChat's conditions, by type."""
        status = (self.resource or {}).get("status", {})
        return {each["type"]: each for each in status.get("conditions", [])}


def moment(text: object) -> datetime | None:
    """Return a time of the API (RFC 3339); None if it is not valid."""
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
