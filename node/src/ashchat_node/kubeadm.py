"""The control plane: kubeadm and its configuration.

Pure functions create the configuration, which is written as JSON (valid YAML).
Reference: kubeadm.k8s.io/v1beta4, kubeproxy.config.k8s.io/v1alpha1, audit.k8s.io/v1.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ashchat_node import kubelet, network
from ashchat_node.commands import capture, run_logged
from ashchat_node.machine import Machine
from ashchat_node.paths import Paths
from ashchat_node.progress import Step

IMAGE_REPOSITORY: Final = "localhost/ashchat-node"
ADMIN_KUBECONFIG: Final = Path("/etc/kubernetes/admin.conf")
_AUDIT_MEGABYTES: Final = 50
_AUDIT_FILES: Final = 4
_IGNORED_PREFLIGHT: Final = (
    "SystemVerification",  # wants cgroup v2 and a kernel configuration that it can read
    "Swap",
    "NumCPU",
    "Mem",
)

_ALONE: Final = {"leader-elect": "false"}
"""No leader election, as there is one of each: after a crash none waits 15 s for a lease."""


@dataclass(frozen=True)
class Versions:
    """Versions of the control plane's components, with a leading v."""

    kubernetes: str
    etcd: str
    coredns: str

    @property
    def etcd_tag(self) -> str:
        """The tag of the etcd image, from which kubeadm reads the version."""
        return f"{self.etcd.removeprefix('v')}-0"


def audit_policy() -> dict[str, Any]:
    """Return the audit policy: every write without its body; no reads and heartbeats."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {
                "level": "None",
                "namespaces": ["kube-node-lease", "kube-system"],
                "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            },
            {
                "level": "Metadata",
                "verbs": ["create", "update", "patch", "delete", "deletecollection"],
            },
            {"level": "None"},
        ],
    }


def configuration(machine: Machine, paths: Paths, versions: Versions) -> list[dict[str, Any]]:
    """Return the documents of kubeadm's configuration file."""
    return [
        _init_configuration(paths),
        _cluster_configuration(paths, versions),
        kubelet.configuration(machine, paths),
        _kube_proxy_configuration(machine),
    ]


def _init_configuration(paths: Paths) -> dict[str, Any]:
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "skipPhases": ["addon/coredns"],  # `add_dns` does it when Services work
        "localAPIEndpoint": {"advertiseAddress": network.NODE_ADDRESS, "bindPort": 6443},
        "nodeRegistration": {
            "name": kubelet.NODE_NAME,
            "criSocket": f"unix://{paths.containerd_socket}",
            "imagePullPolicy": "Never",
            "taints": [],  # one node runs everything
            "ignorePreflightErrors": list(_IGNORED_PREFLIGHT),
        },
    }


def _cluster_configuration(paths: Paths, versions: Versions) -> dict[str, Any]:
    audit_folder = paths.audit_log.parent
    api_server = {
        "bind-address": network.NODE_ADDRESS,  # no other machine reaches that one
        "audit-policy-file": str(paths.state / "audit-policy.yaml"),
        "audit-log-path": str(paths.audit_log),
        "audit-log-maxsize": str(_AUDIT_MEGABYTES),
        "audit-log-maxbackup": str(_AUDIT_FILES),
    }
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": kubelet.NODE_NAME,
        "kubernetesVersion": versions.kubernetes,
        "imageRepository": IMAGE_REPOSITORY,
        "networking": {
            "podSubnet": network.POD_SUBNET,
            "serviceSubnet": network.SERVICE_SUBNET,
        },
        "apiServer": {
            "extraArgs": _arguments(api_server),
            "extraVolumes": [
                _volume("audit-policy", paths.state / "audit-policy.yaml", "File"),
                _volume("audit-log", audit_folder, "DirectoryOrCreate", writable=True),
            ],
        },
        "controllerManager": {
            "extraArgs": _arguments(
                {
                    # kubeadm mounts this folder; the default is outside of the node's folders.
                    "flex-volume-plugin-dir": str(paths.state / "volume-plugins"),
                    **_ALONE,
                }
            )
        },
        "scheduler": {"extraArgs": _arguments(_ALONE)},
        "dns": {"imageTag": versions.coredns},
        "etcd": {"local": {"dataDir": str(paths.state / "etcd"), "imageTag": versions.etcd_tag}},
    }


def _kube_proxy_configuration(machine: Machine) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        # In this mode a NodePort works on 127.0.0.1, too; not in nftables mode.
        "mode": "iptables",
        "iptables": {
            "localhostNodePorts": True,
            # Pods share one bridge: without br_netfilter, a response to another pod would bypass
            # the address translation. Masquerading makes it return through the host.
            "masqueradeAll": not machine.br_netfilter,
        },
        "nodePortAddresses": ["127.0.0.0/8", network.POD_SUBNET],
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Do not change the host's limits of connection tracking.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def _arguments(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _volume(name: str, path: Path, kind: str, *, writable: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "hostPath": str(path),
        "mountPath": str(path),
        "pathType": kind,
        "readOnly": not writable,
    }


def parse_image_list(output: str) -> dict[str, str]:
    """Return kubeadm's image list by the images' short names, for example pause."""
    names = output.split()
    return {name.rsplit("/", 1)[1].split(":", 1)[0]: name for name in names}


class Kubeadm:
    """kubeadm with this node's configuration."""

    def __init__(self, program: Path, paths: Paths) -> None:
        """Use the built program and the node's folders."""
        self._program = program
        self._paths = paths
        self._config = paths.state / "kubeadm.yaml"

    def write_configuration(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Write kubeadm's configuration and the audit policy it refers to."""
        self._config.parent.mkdir(parents=True, exist_ok=True)
        self._paths.audit_log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self._paths.state / "audit-policy.yaml").write_text(json.dumps(audit_policy(), indent=2))
        texts = [json.dumps(document, indent=2) for document in documents]
        self._config.write_text("\n---\n".join(texts) + "\n")

    def images(self) -> dict[str, str]:
        """Return the images that the control plane runs, by their short names.

        Raises:
            NodeError: kubeadm does not accept the configuration.
        """
        return parse_image_list(
            capture("images", [self._program, "config", "images", "list", "--config", self._config])
        )

    def init(self, step: Step) -> None:
        """Create the cluster.

        Raises:
            NodeError: A check or a phase failed.
        """
        run_logged(
            "kubeadm init",
            [self._program, "init", "--config", self._config],
            log=self._paths.log / "kubeadm-init.log",
            step=step,
            # kubeadm asks the kubelet for its version.
            env={"PATH": f"{self._program.parent}:{os.environ.get('PATH', '/usr/bin:/bin')}"},
            what_to_do=f"Read {self._paths.log}/kubelet.log; what was begun is undone by the "
            "next up.",
        )

    def add_dns(self) -> None:
        """Add CoreDNS. Not part of `init`, because it waits long if started before kube-proxy.

        Raises:
            NodeError: The API server rejects it.
        """
        run_logged(
            "kubeadm init",
            [self._program, "init", "phase", "addon", "coredns", "--config", self._config],
            log=self._paths.log / "kubeadm-dns.log",
        )

    def reset(self) -> None:
        """Undo `init`: pods, mounts, certificates, etcd's data. containerd must be running.

        Raises:
            NodeError: kubeadm failed.
        """
        run_logged(
            "kubeadm reset",
            [
                self._program,
                "reset",
                "--force",
                f"--cri-socket=unix://{self._paths.containerd_socket}",
            ],
            log=self._paths.log / "kubeadm-reset.log",
        )
