"""The time, in the form of the Kubernetes API."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC in the form of a status or an event (RFC 3339)."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def timestamp() -> str:
    """Return the current time in the form of a status or an event (RFC 3339)."""
    return rfc3339(now())
