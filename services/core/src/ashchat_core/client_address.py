"""The client's network address, as reported by trusted proxies."""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from fastapi import Request

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN: Final = "0.0.0.0"  # noqa: S104 (not an address to listen on)

_WITH_PORT: Final = re.compile(r"\[([^\]]*)\](?::\d+)?|([0-9.]+):\d+", re.ASCII)


@lru_cache(maxsize=16)
def networks(text: str) -> tuple[Network, ...]:
    """Return the networks in a comma-separated setting. Host bits are ignored (10.1.2.3/8).

    Raises:
        ValueError: An item is not a network.
    """
    items = filter(None, map(str.strip, text.split(",")))
    return tuple(ipaddress.ip_network(item, strict=False) for item in items)


def parse(text: str) -> Address | None:
    """Return the address in an element of X-Forwarded-For, or None if it has none.

    Proxies also write a port (`192.0.2.1:4711`, `[2001:db8::1]:4711`), quotes (RFC 7239), a zone
    (`fe80::1%eth0`), or an IPv4 address in its IPv6 form (`::ffff:192.0.2.1`).
    """
    text = text.strip().strip('"').strip()
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def client_address(request: Request, trusted_proxies: str) -> str:
    """Return the address of a request's client; see `address_of`."""
    peer = request.client.host if request.client else None
    return address_of(peer, request.headers.getlist("x-forwarded-for"), trusted_proxies)


def address_of(peer: str | None, forwarded: Sequence[str], trusted_proxies: str) -> str:
    """Return a client's address.

    X-Forwarded-For is trusted only as far as trusted proxies wrote it: the result is its last
    address that is not a trusted proxy (RFC 7239, section 8.1). If all of them are trusted
    (clients and pods share the private networks), it is the first. At an element that is not an
    address (`unknown`) the client cannot be determined, and the result is the nearest proxy.
    Several header lines are one list (RFC 9110, section 5.3), because some proxies add a line
    below the client's.

    Args:
        peer: The address that the connection comes from; None: it has none.
        forwarded: The values of X-Forwarded-For, one per header line.
        trusted_proxies: Networks (CIDR, comma-separated) whose header is trusted.
    """
    trusted = networks(trusted_proxies)
    client = parse(peer) if peer else None
    if client is None:
        return peer or UNKNOWN
    hops = ",".join(forwarded).split(",")
    for hop in reversed([hop for hop in hops if hop.strip()]):
        if not _within(client, trusted):
            break
        address = parse(hop)
        if address is None:
            break
        client = address
    return str(client)


def _within(address: Address, trusted: tuple[Network, ...]) -> bool:
    return any(address in network for network in trusted)
