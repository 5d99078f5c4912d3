"""Origins of browser pages: which may open sockets and call the HTTP APIs (RFC 6454).

Only browsers, and applications built on a browser engine, send the header `Origin`.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import idna

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)

OPAQUE: Final = "null"
"""Origin of pages from local files and of sandboxed frames (RFC 6454, section 7.1)."""


class Origin(NamedTuple):
    """A normalised origin: comparable as a whole."""

    scheme: str
    host: str
    port: int | None

    @property
    def text(self) -> str:
        """The origin as browsers send it."""
        if self.scheme == OPAQUE:
            return OPAQUE
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown = "" if self.port in {None, _DEFAULT_PORTS.get(self.scheme)} else f":{self.port}"
        return f"{self.scheme}://{host}{shown}"


def parse(text: str) -> Origin | None:
    """Return an origin in normal form, or None if the text is not an origin.

    Host names are compared in ASCII (`xn--...`), as browsers send them, and default ports are
    filled in. Applications have their own schemes (`capacitor://localhost`,
    `chrome-extension://<id>`, `file://`), or `null`.
    """
    text = text.strip()
    if text.lower() == OPAQUE:
        return Origin(OPAQUE, "", None)
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
        if not text.lower().startswith(f"{scheme}://") or not _SCHEME.fullmatch(scheme):
            return None
        if parts.username is not None or parts.path not in {"", "/"} or parts.query or "#" in text:
            return None
        if scheme not in _DEFAULT_PORTS:
            return Origin(scheme, host, port)
        return Origin(scheme, _ascii(host), port or _DEFAULT_PORTS[scheme]) if host else None
    except ValueError:
        return None


def parse_list(text: str) -> frozenset[Origin]:
    """Return the origins in a comma-separated setting.

    Raises:
        ValueError: An item is not an origin.
    """
    found = set()
    for item in filter(None, map(str.strip, text.split(","))):
        origin = parse(item)
        if origin is None:
            raise ValueError(f"{item!r} is not an origin, such as https://app.example.org")
        found.add(origin)
    return frozenset(found)


def allowed(origin: str | None, host: str, listed: Iterable[Origin]) -> bool:
    """Return whether a page of an origin may open a socket.

    Args:
        origin: The header `Origin`; None if absent.
        host: The header `Host`: if nothing is listed, the page must be of the same host.
        listed: The allowed origins.
    """
    if origin is None:
        return True
    wanted = frozenset(listed)
    if not wanted:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    return parse(origin) in wanted


def _ascii(host: str) -> str:
    """Return a host name as browsers send it (UTS 46)."""
    if host.isascii():
        return host
    return idna.encode(host, uts46=True).decode()
