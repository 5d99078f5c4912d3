from typing import Any

import yaml

from ashchat_dev.images import ROOT
from ashchat_node.kubeadm import audit_policy


def machine() -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    (found,) = config["nodes"]
    return dict(found)


def test_the_ports_are_open_on_loopback_alone() -> None:
    mappings = machine()["extraPortMappings"]
    assert {each["listenAddress"] for each in mappings} == {"127.0.0.1"}
    assert {each["hostPort"] for each in mappings} == {30080, 30025}


def test_what_is_mounted_is_there() -> None:
    assert (ROOT / machine()["extraMounts"][0]["hostPath"]).is_file()


def test_kind_audits_what_the_node_audits() -> None:
    kinds = yaml.safe_load((ROOT / "dev/audit-policy.yaml").read_text())
    assert kinds == audit_policy()
