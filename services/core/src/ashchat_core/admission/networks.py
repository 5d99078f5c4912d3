"""Which networks a client belongs to.

A subscriber has one IPv4 address, or an IPv6 prefix between /64 and /48 (RFC 6177), in which it
chooses addresses as it likes. So a request charges the narrowest network and the wider ones
around it, each of which holds more. IPv4 addresses that a provider gives to many subscribers
(RFC 6888) are one client: limits by account must be stricter than those by network.
"""

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ashchat_core.admission.rules import Bucket, Rate

SHARES: Final[Mapping[int, Mapping[int, int]]] = MappingProxyType(
    {
        4: MappingProxyType({32: 1, 24: 16}),
        6: MappingProxyType({64: 1, 56: 4, 48: 16}),
    }
)
"""How many times a client's rate each network holds, by version and prefix length."""


def networks(address: str) -> dict[str, int]:
    """Return a client's networks, narrowest first, and how many clients' rates each holds.

    An IPv4 address in its IPv6 form counts as itself. What is not an address is one client.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return {address: 1}
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return {
        str(ipaddress.ip_network((int(ip), bits), strict=False)): share
        for bits, share in SHARES[ip.version].items()
    }


def network_buckets(limit: str, address: str, rate: Rate) -> tuple[Bucket, ...]:
    """Return the buckets of all of a client's networks for one limit."""
    return tuple(
        Bucket(limit, (network,), rate.times(share)) for network, share in networks(address).items()
    )
