"""The kubelet, the only part of Kubernetes that runs as a host process."""

import os
from pathlib import Path
from typing import Any, Final

from ashchat_node import network
from ashchat_node.machine import Machine
from ashchat_node.paths import Paths
from ashchat_node.processes import Daemon

NODE_NAME: Final = "ashchat"
ROOT: Final = Path("/var/lib/kubelet")
CONFIG: Final = ROOT / "config.yaml"
KUBECONFIG: Final = Path("/etc/kubernetes/kubelet.conf")
_RESOLVED: Final = Path("/run/systemd/resolve/resolv.conf")


def configuration(machine: Machine, paths: Paths) -> dict[str, Any]:
    """Return the KubeletConfiguration (kubelet.config.k8s.io/v1beta1).

    kubeadm adds its defaults (certificates, authentication).
    """
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": network.NODE_ADDRESS,  # no other machine reaches that one
        "containerRuntimeEndpoint": f"unix://{paths.containerd_socket}",
        "cgroupDriver": "systemd" if machine.systemd else "cgroupfs",
        "failSwapOn": False,
        "syncFrequency": "10s",  # a changed Secret is in its pods by then; by default in a minute
        "maxPods": 200,  # of the 254 addresses of the pod network
        "evictionHard": {"memory.available": "100Mi"},
        # A garbage-collected image could not be pulled again: there is no registry.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "podLogsDir": str(paths.log / "pods"),
        "volumePluginDir": str(paths.state / "volume-plugins"),
        # systemd-resolved's stub on 127.0.0.53 would loop inside CoreDNS.
        "resolvConf": str(_RESOLVED if _RESOLVED.exists() else Path("/etc/resolv.conf")),
    }
    if machine.cgroup == "v1":
        config["failCgroupV1"] = False
    if not machine.sys_resource:
        # The kubelet then continues if the kernel rejects limits and OOM scores.
        config["featureGates"] = {"KubeletInUserNamespace": True}
    return config


def daemon(program: Path) -> Daemon:
    """Return the kubelet, which starts once kubeadm has written its files."""
    return Daemon(
        name="kubelet",
        arguments=[
            str(program),
            f"--config={CONFIG}",
            f"--kubeconfig={KUBECONFIG}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={network.NODE_ADDRESS}",
        ],
        wait_for=[str(CONFIG), str(KUBECONFIG)],
        # The kubelet runs mount, iptables and similar programs, some of them in sbin.
        env={"PATH": f"/usr/local/sbin:/usr/sbin:/sbin:{os.environ.get('PATH', '/usr/bin:/bin')}"},
    )
