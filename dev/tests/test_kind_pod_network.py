import json
from ipaddress import IPv4Network
from typing import Any

from ashchat_dev.kind.pod_network import PodNetwork, cni_config, parse_nodes, script

POD_SUBNET = "10.244.0.0/16"
A = PodNetwork("a", "172.18.0.2", "10.244.0.0/24")
B = PodNetwork("b", "172.18.0.3", "10.244.1.0/24")
C = PodNetwork("c", "172.18.0.4", "10.244.2.0/24")


def node(network: PodNetwork, **spec: str) -> dict[str, Any]:
    return {
        "metadata": {"name": network.node},
        "spec": {"podCIDR": network.subnet, **spec},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": network.address},
                {"type": "Hostname", "address": network.node},
            ]
        },
    }


def test_networks_are_those_of_all_nodes() -> None:
    assert parse_nodes({"items": [node(A), node(B)]}) == [A, B]


def test_a_node_without_pod_addresses_is_awaited() -> None:
    assert parse_nodes({"items": [node(A), node(B, podCIDR="")]}) is None


def test_each_node_has_a_route_to_every_other() -> None:
    routes = [line for line in script(B, [A, B, C], POD_SUBNET).splitlines() if "route" in line]
    assert routes == [
        "ip route replace 10.244.0.0/24 via 172.18.0.2",
        "ip route replace 10.244.2.0/24 via 172.18.0.4",
    ]


def test_connections_between_pods_keep_their_addresses() -> None:
    (rule,) = [line for line in script(A, [A], POD_SUBNET).splitlines() if "iptables" in line]
    assert rule.count(f"-s {A.subnet} ! -d {POD_SUBNET} -j MASQUERADE") == 2
    assert all(IPv4Network(each.subnet).subnet_of(IPv4Network(POD_SUBNET)) for each in (A, B, C))


def test_pods_get_addresses_of_their_node() -> None:
    pods, ports = json.loads(cni_config(B))["plugins"]
    assert pods["ipam"]["ranges"] == [[{"subnet": B.subnet}]]
    assert pods["ipMasq"] is False
    assert ports["type"] == "portmap"
