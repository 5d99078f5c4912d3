from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from ashchat_dev import suite_namespaces
from ashchat_dev.images import ROOT
from ashchat_dev.kind import configuration
from ashchat_dev.kind.adaptations import Machine
from ashchat_dev.kind.cluster import ARCHIVES
from ashchat_dev.kind.inside import storage_class_on
from ashchat_dev.kind.settings import Settings
from ashchat_dev.target import EDGE_PORT, MAILBOX_PORT
from ashchat_node import network
from ashchat_node.errors import NodeError
from ashchat_node.kubeadm import audit_policy

IMAGE = "localhost/ashchat-kind-node:1"
WORKERS = range(1, suite_namespaces.WORKERS_MAX)


def machine() -> dict[str, Any]:
    (found,) = configuration.load()["nodes"]
    return dict(found)


def host_ports(node: dict[str, Any]) -> dict[int, int]:
    return {each["containerPort"]: each["hostPort"] for each in node["extraPortMappings"]}


def kubelet(config: dict[str, Any]) -> dict[str, Any]:
    (patch,) = map(yaml.safe_load, config["kubeadmConfigPatches"])
    assert patch.pop("kind") == "KubeletConfiguration"
    return dict(patch)


def test_the_ports_are_open_on_loopback_alone() -> None:
    mappings = machine()["extraPortMappings"]
    assert {each["listenAddress"] for each in mappings} == {"127.0.0.1"}
    assert host_ports(machine()) == {port: port for port in host_ports(machine())}


def test_all_ports_of_the_suite_are_mapped() -> None:
    edges = {suite_namespaces.EDGE_PORTS + worker for worker in WORKERS}
    mailboxes = {suite_namespaces.MAILBOX_PORTS + worker for worker in WORKERS}
    ours = {EDGE_PORT, MAILBOX_PORT, suite_namespaces.HTTPS_PORT}
    assert set(host_ports(machine())) == ours | edges | mailboxes


def test_an_offset_moves_all_ports_of_this_machine() -> None:
    settings = Settings(port_offset=1000)
    config = configuration.cluster(configuration.load(), settings, Machine(), IMAGE)
    for node_port, port in host_ports(config["nodes"][0]).items():
        assert port == node_port + 1000


def test_a_packaged_node_image_has_no_network() -> None:
    config = configuration.cluster(configuration.load(), Settings(nodes=3), Machine(), IMAGE)
    assert [each["role"] for each in config["nodes"]] == ["control-plane", "worker", "worker"]
    assert {each["image"] for each in config["nodes"]} == {IMAGE}
    assert config["networking"]["disableDefaultCNI"] is True


def test_pods_run_on_the_control_plane_that_ports_lead_to() -> None:
    (plain,) = machine()["kubeadmConfigPatches"]
    config = configuration.cluster(configuration.load(), Settings(nodes=3), Machine(), IMAGE)
    first, untainted = config["nodes"][0]["kubeadmConfigPatches"]
    assert first == plain
    assert yaml.safe_load(untainted)["nodeRegistration"] == {"taints": []}


@pytest.mark.parametrize("image", [None, IMAGE])
def test_no_address_is_one_of_the_node_from_packages(image: str | None) -> None:
    """Otherwise its packet filter rules change packets between kind's nodes."""
    config = configuration.cluster(configuration.load(), Settings(), Machine(), image)
    for own in (config["networking"]["podSubnet"], config["networking"]["serviceSubnet"]):
        for other in (network.POD_SUBNET, network.SERVICE_SUBNET):
            assert not IPv4Network(own).overlaps(IPv4Network(other))


def test_volumes_are_on_one_node() -> None:
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    classes: list[dict[str, Any]] = [
        {"metadata": {"name": "other"}, "provisioner": "a"},
        {"metadata": {"name": "default", "uid": "1", "annotations": default}, "provisioner": "b"},
    ]
    found = storage_class_on("node-b", classes)
    assert (found["metadata"]["name"], found["provisioner"]) == ("default", "b")
    assert "uid" not in found["metadata"]
    ((term,),) = [each["matchLabelExpressions"] for each in found["allowedTopologies"]]
    assert term == {"key": "kubernetes.io/hostname", "values": ["node-b"]}
    with pytest.raises(NodeError, match="no default"):
        storage_class_on("node-b", classes[:1])


def test_the_audit_log_is_in_the_folder_of_the_cluster(tmp_path: Path) -> None:
    config = configuration.cluster(configuration.load(), Settings(), Machine(), None)
    configuration.mount_audit_log(config, tmp_path)
    mounts = {each["containerPath"]: each for each in config["nodes"][0]["extraMounts"]}
    assert mounts[configuration.AUDIT_LOG]["hostPath"] == str(tmp_path)
    assert machine()["extraMounts"] != config["nodes"][0]["extraMounts"]


def test_all_nodes_read_exported_images(tmp_path: Path) -> None:
    config = configuration.cluster(configuration.load(), Settings(nodes=3), Machine(), IMAGE)
    configuration.mount_archives(config, tmp_path)
    mount = {"hostPath": str(tmp_path), "containerPath": ARCHIVES, "readOnly": True}
    assert [each["extraMounts"].count(mount) for each in config["nodes"]] == [1, 1, 1]


def test_kinds_own_image_keeps_its_network() -> None:
    config = configuration.cluster(configuration.load(), Settings(), Machine(), None)
    assert "disableDefaultCNI" not in config["networking"]
    assert "image" not in config["nodes"][0]


@pytest.mark.parametrize(
    ("here", "fields"),
    [
        (Machine(), {}),
        (Machine(cgroup="v1"), {"failCgroupV1": False}),
        (Machine(sys_resource=False), {"featureGates": {"KubeletInUserNamespace": True}}),
    ],
)
def test_only_what_the_machine_lacks_is_adapted(here: Machine, fields: dict[str, Any]) -> None:
    plain = kubelet(configuration.cluster(configuration.load(), Settings(), Machine(), None))
    adapted = kubelet(configuration.cluster(configuration.load(), Settings(), here, None))
    assert adapted == {**plain, **fields}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Settings()),
        ({"NODES": "3", "KIND_PORT_OFFSET": "1000"}, Settings(nodes=3, port_offset=1000)),
        ({"KIND_NODE_IMAGE": "build"}, Settings(way="build")),
        ({"KIND_CLUSTER_NAME": "ashchat-smoke"}, Settings(name="ashchat-smoke")),
        ({"KIND_NODE_IMAGE": "pull", "NODES": ""}, Settings(way="pull")),
    ],
)
def test_settings_are_environment_variables(environ: dict[str, str], expected: Settings) -> None:
    assert asdict(Settings.parse(environ)) == asdict(expected)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"KIND_NODE_IMAGE": "push"}, "pull or build, not push"),
        ({"NODES": "0"}, "NODES is a number from 1 to 9, not 0"),
        ({"NODES": "three"}, "not three"),
        ({"KIND_PORT_OFFSET": "-1"}, "KIND_PORT_OFFSET"),
        ({"KIND_PORT_OFFSET": "40000"}, "to 30000"),
        ({"KIND_CLUSTER_NAME": "My_cluster"}, "not My_cluster"),
        ({"KIND_CLUSTER_NAME": "a" * 41}, "at most 40"),
    ],
)
def test_a_setting_that_is_not_valid_is_rejected(environ: dict[str, str], why: str) -> None:
    with pytest.raises(NodeError, match=why):
        Settings.parse(environ)


def test_what_is_mounted_is_there() -> None:
    assert (ROOT / machine()["extraMounts"][0]["hostPath"]).is_file()


def test_kind_audits_what_the_node_audits() -> None:
    kinds = yaml.safe_load((ROOT / "dev/audit-policy.yaml").read_text())
    assert kinds == audit_policy()
