"""The configuration of a kind cluster, made from kind-config.yaml.

https://kind.sigs.k8s.io/docs/user/configuration/
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import yaml

from ashchat_dev.images import ROOT
from ashchat_dev.kind.adaptations import Machine
from ashchat_dev.kind.cluster import ARCHIVES
from ashchat_dev.kind.settings import Settings

CONFIG: Final = ROOT / "kind-config.yaml"
POD_SUBNET: Final = "10.246.0.0/16"
SERVICE_SUBNET: Final = "10.98.0.0/16"
"""Not those of the node from packages, nor kind's defaults, which overlap with them.

Packets between kind's nodes pass a bridge of this machine, and so its packet filter (br_netfilter):
rules for a pod of this machine would change packets of a pod with the same address.
"""

AUDIT_LOG: Final = "/var/log/kubernetes"
"""Where the API server's audit log is in the node of the control plane."""

_KUBELET: Final[Mapping[str, Any]] = {
    "syncFrequency": "10s",  # a changed Secret is in its pods by then; by default in a minute
    "maxPods": 200,  # of the 254 addresses of a node; the suite runs several AshChats
}

Object = dict[str, Any]

_UNTAINTED: Final = json.dumps({"kind": "InitConfiguration", "nodeRegistration": {"taints": []}})


def load(file: Path = CONFIG) -> Object:
    """Return the configuration that a user can pass to kind by hand."""
    loaded: Object = yaml.safe_load(file.read_text(encoding="utf-8"))
    return loaded


def cluster(
    base: Mapping[str, Any], settings: Settings, machine: Machine, node_image: str | None
) -> Object:
    """Return the configuration of a cluster.

    Args:
        base: The configuration of one node, the control plane.
        settings: The number of nodes, and the offset of the ports on this machine.
        machine: What to adapt to.
        node_image: A node image that contains no pod network; None for kind's default, which
            contains one.
    """
    config = deepcopy(dict(base))
    (control_plane,) = config["nodes"]
    for mapping in control_plane["extraPortMappings"]:
        mapping["hostPort"] += settings.port_offset
    config["nodes"] += [{"role": "worker"} for _ in range(settings.nodes - 1)]
    config["networking"] = {"podSubnet": POD_SUBNET, "serviceSubnet": SERVICE_SUBNET}
    config["kubeadmConfigPatches"] = [_kubelet_patch(machine)]
    if settings.nodes > 1:
        # Ports of this machine lead to the control plane, which therefore runs pods, too.
        control_plane["kubeadmConfigPatches"].append(_UNTAINTED)
    if node_image is not None:
        for node in config["nodes"]:
            node["image"] = node_image
        config["networking"]["disableDefaultCNI"] = True
    return config


def mount_audit_log(config: Object, folder: Path) -> None:
    """Let the API server write its audit log to a folder of this machine."""
    mounts = config["nodes"][0]["extraMounts"]
    (mount,) = (each for each in mounts if each["containerPath"] == AUDIT_LOG)
    mount["hostPath"] = str(folder)


def mount_archives(config: Object, folder: Path) -> None:
    """Let all nodes read exported images from a folder of this machine."""
    mount = {"hostPath": str(folder), "containerPath": ARCHIVES, "readOnly": True}
    for node in config["nodes"]:
        node.setdefault("extraMounts", []).append(mount)


def _kubelet_patch(machine: Machine) -> str:
    return json.dumps({"kind": "KubeletConfiguration", **_KUBELET, **machine.kubelet()})
