"""metrics-server: CPU and memory usage of pods (metrics.k8s.io), used by autoscalers.

The objects follow manifests/base of its module, with two differences. Kubelets are addressed by
name and their certificates are verified; these are self-signed, so each is its own authority.
And it requests fewer resources, because it measures few nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ashchat_node import kubelet
from ashchat_node.workload import deployment

NAMESPACE: Final = "kube-system"
NAME: Final = "metrics-server"
KUBELET_CERTIFICATE: Final = kubelet.ROOT / "pki" / "kubelet.crt"
"""The kubelet's certificate and its authority, on each node."""

_PORT: Final = 10250
_GROUP: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Kubelet:
    """A kubelet to measure.

    Attributes:
        node: The name of its node, which its certificate contains.
        address: The node's address.
        certificate: The content of its `KUBELET_CERTIFICATE`.
    """

    node: str
    address: str
    certificate: str


def objects(image: str, kubelets: Sequence[Kubelet]) -> list[dict[str, Any]]:
    """Return the objects to apply.

    Args:
        image: metrics-server.
        kubelets: Those of all nodes.
    """
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _metadata()},
        *_role_objects(),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{NAME}-kubelet", "namespace": NAMESPACE},
            "data": {"ca.crt": "".join(each.certificate for each in kubelets)},
        },
        _deployment(image, kubelets),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(),
            "spec": {
                "selector": {"k8s-app": NAME},
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": _PORT}],
            },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "service": {"name": NAME, "namespace": NAMESPACE},
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                # Its own certificate is made at each start. The API server proves itself to
                # it, and the way between them does not leave the machine.
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]


def _metadata() -> dict[str, Any]:
    return {"name": NAME, "namespace": NAMESPACE, "labels": {"k8s-app": NAME}}


def _role_objects() -> list[dict[str, Any]]:
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    read = ["get", "list", "watch"]
    return [
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": f"system:{NAME}"},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": read},
            ],
        },
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{NAME}-auth-reader", "namespace": NAMESPACE},
            "roleRef": {
                "apiGroup": _GROUP,
                "kind": "Role",
                "name": "extension-apiserver-authentication-reader",
            },
            "subjects": [subject],
        },
        *(
            {
                "apiVersion": f"{_GROUP}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
                "subjects": [subject],
            }
            for name, role in (
                (f"{NAME}:system:auth-delegator", "system:auth-delegator"),
                (f"system:{NAME}", f"system:{NAME}"),
            )
        ),
    ]


def _deployment(image: str, kubelets: Sequence[Kubelet]) -> dict[str, Any]:
    probe = {"port": "https", "scheme": "HTTPS"}
    container = {
        "name": NAME,
        "image": image,
        "args": [
            "--cert-dir=/tmp",
            f"--secure-port={_PORT}",
            "--kubelet-certificate-authority=/etc/kubelet/ca.crt",
            "--kubelet-preferred-address-types=Hostname",  # what a certificate names
            "--kubelet-use-node-status-port",
            "--metric-resolution=15s",
        ],
        "ports": [{"name": "https", "containerPort": _PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/readyz", **probe}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/livez", **probe}, "periodSeconds": 10},
        "resources": {
            "requests": {"cpu": "10m", "memory": "32Mi"},
            "limits": {"memory": "128Mi"},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 (the pod's own emptyDir)
            {"name": "kubelet", "mountPath": "/etc/kubelet"},
        ],
    }
    return deployment(
        _metadata(),
        {"k8s-app": NAME},
        container,
        serviceAccountName=NAME,
        priorityClassName="system-cluster-critical",
        # No DNS server knows the nodes' names.
        hostAliases=[{"ip": each.address, "hostnames": [each.node]} for each in kubelets],
        volumes=[
            {"name": "tmp", "emptyDir": {}},
            {"name": "kubelet", "configMap": {"name": f"{NAME}-kubelet"}},
        ],
    )
