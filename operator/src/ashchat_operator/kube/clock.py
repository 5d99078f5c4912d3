"""The time, as the API writes it."""

from datetime import UTC, datetime


def now() -> datetime:
    """Return the time in whole seconds, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC as a status or an event tells it (RFC 3339)."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp() -> str:
    """Return the time as a status or an event tells it."""
    return rfc3339(now())
