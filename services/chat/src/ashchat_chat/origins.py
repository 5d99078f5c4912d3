"""Whose pages may open sockets (OWASP ASVS 5.0, 4.4.2; RFC 6454). Pure.

Only browsers send an Origin; other clients have none and are not asked.
"""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def allowed(origin: str | None, host: str, listed: Iterable[str]) -> bool:
    """Return whether a page of an origin may open a socket.

    Args:
        origin: The header `Origin`; None: there is none.
        host: The header `Host`: with nothing listed, the page is to be of the same host.
        listed: The origins that are allowed.
    """
    if origin is None:
        return True
    wanted = list(listed)
    if not wanted:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    return normal(origin) is not None and normal(origin) in {normal(item) for item in wanted}


def normal(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin; None: it has none (`null`, nonsense)."""
    try:
        parts = urlsplit(origin.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.hostname is None or parts.scheme not in _DEFAULT_PORTS:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]
