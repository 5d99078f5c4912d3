"""The pod network of a cluster with a packaged node image, which contains none.

As kind's own network does: the CNI plugin ptp on each node, routes between the nodes, and
translation of the addresses of connections that leave the cluster. Every packet of a pod passes
its node's packet filter, so that Services work without br_netfilter.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

CNI_FILE: Final = "/etc/cni/net.d/10-pods.conflist"
SCRIPT: Final = "/kind/pod-network"
UNIT: Final = "pod-network.service"
"""Runs the script; also after a restart of the node."""

_ADDRESSES: Final = "/run/cni/addresses"
"""Empty after a restart of the node, as its pods are then new."""


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A node's part of the pod network.

    Attributes:
        node: The node's name.
        address: Its address in Docker's network.
        subnet: The addresses of its pods.
    """

    node: str
    address: str
    subnet: str


def parse_nodes(node_list: Mapping[str, Any]) -> list[PodNetwork] | None:
    """Return the networks in a NodeList; None if a node has no pod addresses yet."""
    found: list[PodNetwork] = []
    for item in node_list["items"]:
        addresses = {each["type"]: each["address"] for each in item["status"].get("addresses", ())}
        subnet, address = item["spec"].get("podCIDR"), addresses.get("InternalIP")
        if not subnet or not address:
            return None
        found.append(PodNetwork(item["metadata"]["name"], address, subnet))
    return found


def cni_config(own: PodNetwork) -> str:
    """Return a node's CNI configuration (CNI specification 1.0.0)."""
    config = {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,  # the script does it, and not between pods
                "ipam": {
                    "type": "host-local",
                    "dataDir": _ADDRESSES,
                    "ranges": [[{"subnet": own.subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(config, indent=2) + "\n"


def script(own: PodNetwork, all_nodes: Sequence[PodNetwork], pod_subnet: str) -> str:
    """Return the script of a node's routes and address translation; it can run repeatedly."""
    rule = f"POSTROUTING -s {own.subnet} ! -d {pod_subnet} -j MASQUERADE"
    lines = [
        "#!/bin/sh",
        "set -eu",
        *(
            f"ip route replace {other.subnet} via {other.address}"
            for other in all_nodes
            if other != own
        ),
        f"iptables --wait -t nat -C {rule} 2>/dev/null || iptables --wait -t nat -A {rule}",
    ]
    return "\n".join(lines) + "\n"
