import json
from pathlib import Path

from ashchat_node.network import cni_config, without_our_chains

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MINE - [0:0]
:CNI-1234 - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -j MINE
-A POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \\"pods\\" id: \\"1\\"" -j CNI-1234
-A CNI-1234 -d 10.244.0.0/24 -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-1
COMMIT
*filter
:INPUT ACCEPT [0:0]
-A INPUT -s 192.0.2.1/32 -j DROP
COMMIT
"""


def test_only_our_rules_and_chains_go() -> None:
    assert without_our_chains(SAVED).splitlines() == [
        "*nat",
        ":CNI-1234 - [0:0]",
        ":KUBE-SERVICES - [0:0]",
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        (
            '-D POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \\"pods\\" id: \\"1\\"" '
            "-j CNI-1234"
        ),
        "-X CNI-1234",
        "-X KUBE-SERVICES",
        "COMMIT",
    ]


def test_nothing_of_ours_means_nothing_to_do() -> None:
    assert without_our_chains("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n") == ""
    assert without_our_chains("") == ""


def test_addresses_are_kept_in_the_state_folder() -> None:
    config = json.loads(cni_config(Path("/state")))
    bridge, portmap = config["plugins"]
    assert bridge["ipam"]["dataDir"] == "/state/addresses"
    assert bridge["bridge"] == "ashchat0"
    assert portmap["type"] == "portmap"
