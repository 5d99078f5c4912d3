"""The node's network: one bridge with the node's address, unreachable from outside.

The bridge is created before the first pod and has the node's address. The API server and the
kubelet listen on this address, which does not change with the machine's network and cannot be
reached from other machines.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ashchat_node import packet_filter
from ashchat_node.commands import capture, succeeds
from ashchat_node.errors import NodeError

BRIDGE: Final = "ashchat0"
POD_SUBNET: Final = "10.244.0.0/24"
SERVICE_SUBNET: Final = "10.96.0.0/16"
NODE_ADDRESS: Final = "10.244.0.1"
CNI_PLUGINS: Final = Path("/usr/lib/cni")
_BRIDGE_MAC: Final = "0a:58:0a:f4:00:01"  # fixed: a bridge else takes a port's, and changes
SYSCTLS: Final[Mapping[str, str]] = {"net/ipv4/ip_forward": "1"}
"""Kernel settings that pods need."""
TOUCHED_SYSCTLS: Final = (
    *SYSCTLS,
    # The kubelet sets these, kube-proxy those.
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet", "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
)  # fmt: skip
_OUR_CHAIN: Final = re.compile(r"^(?:KUBE-|CNI-)")


def cni_config(state: Path) -> str:
    """Return the CNI configuration (CNI specification 1.0.0): bridge, addresses, ports."""
    config = {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,  # a pod reaches itself through its Service
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(state / "addresses"),
                    "ranges": [[{"subnet": POD_SUBNET, "gateway": NODE_ADDRESS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    return json.dumps(config, indent=2) + "\n"


def create_bridge() -> None:
    """Create the bridge with the node's address if it does not exist.

    Raises:
        NodeError: The kernel rejects it.
    """
    step = "network"
    if not Path("/sys/class/net", BRIDGE).exists():
        capture(step, ["ip", "link", "add", BRIDGE, "address", _BRIDGE_MAC, "type", "bridge"])
    capture(step, ["ip", "address", "replace", f"{NODE_ADDRESS}/24", "dev", BRIDGE])
    capture(step, ["ip", "link", "set", BRIDGE, "up"])


def delete_bridge() -> None:
    """Delete the bridge and its interfaces if it exists."""
    if Path("/sys/class/net", BRIDGE).exists():
        for port in Path("/sys/class/net", BRIDGE, "brif").iterdir():
            succeeds(["ip", "link", "delete", port.name])
        succeeds(["ip", "link", "delete", BRIDGE])


def read_sysctls() -> dict[str, str]:
    """Return the current values of the settings that a node changes."""
    found: dict[str, str] = {}
    for name in TOUCHED_SYSCTLS:
        file = Path("/proc/sys") / name
        if file.exists():
            found[name] = file.read_text().strip()
    return found


def write_sysctls(values: Mapping[str, str]) -> None:
    """Change kernel settings; one that is missing or rejected is left unchanged.

    Raises:
        NodeError: Packet forwarding, which pods need, cannot be enabled.
    """
    for name, value in values.items():
        file = Path("/proc/sys") / name
        try:
            if file.read_text().strip() != value:
                file.write_text(value)
        except OSError as error:
            if name in SYSCTLS and value == SYSCTLS[name]:
                raise NodeError("network", f"{name} cannot be set: {error}") from error


def without_our_chains(saved: str) -> str:
    """Return the input of iptables-restore --noflush that removes Kubernetes' chains and rules.

    They include the rules of CNI's masquerading. `saved` is the output of iptables-save.
    """
    return packet_filter.removal(saved, _OUR_CHAIN)


def remove_rules() -> None:
    """Remove the packet filter rules of kube-proxy, the kubelet and CNI.

    Raises:
        NodeError: A rule stays.
    """
    for family in ("iptables", "ip6tables"):
        saved = capture("network", [f"{family}-save"])
        if commands := without_our_chains(saved):
            capture("network", [f"{family}-restore", "--noflush"], stdin=commands)
