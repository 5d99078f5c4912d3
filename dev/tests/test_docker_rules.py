import pytest

from ashchat_dev.docker_rules import parse_forward_policy, removal

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
:DOCKERS - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i ashchat0 -j ACCEPT
-A FORWARD -j DOCKERS
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_only_dockers_rules_and_chains_are_removed() -> None:
    assert removal(SAVED).splitlines() == [
        "*nat",
        ":DOCKER - [0:0]",
        "-D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        "-D POSTROUTING -s 172.18.0.0/16 ! -o br-0123456789ab -j MASQUERADE",
        "-X DOCKER",
        "COMMIT",
        "*filter",
        ":DOCKER - [0:0]",
        ":DOCKER-ISOLATION-STAGE-1 - [0:0]",
        ":DOCKER-USER - [0:0]",
        "-D FORWARD -j DOCKER-USER",
        "-D FORWARD -j DOCKER-ISOLATION-STAGE-1",
        "-D FORWARD -o docker0 -j DOCKER",
        "-D FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        "-X DOCKER",
        "-X DOCKER-ISOLATION-STAGE-1",
        "-X DOCKER-USER",
        "COMMIT",
    ]


def test_without_rules_of_docker_nothing_is_removed() -> None:
    assert removal("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j KUBE-FORWARD\nCOMMIT\n") == ""


def test_the_policy_is_that_of_the_chain() -> None:
    assert parse_forward_policy("-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n") == "DROP"
    assert parse_forward_policy("-P FORWARD ACCEPT\n") == "ACCEPT"
    with pytest.raises(ValueError, match="FORWARD"):
        parse_forward_policy("-A FORWARD -j DOCKER-USER\n")
