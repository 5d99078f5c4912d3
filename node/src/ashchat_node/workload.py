"""What the node's own Deployments have in common: one pod, which may do nothing it need not."""

from collections.abc import Mapping
from typing import Any

SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def deployment(
    metadata: Mapping[str, Any],
    labels: Mapping[str, str],
    container: Mapping[str, Any],
    **pod: Any,
) -> dict[str, Any]:
    """Return a Deployment of one pod with one container, whose image is on the node.

    Args:
        metadata: The Deployment's.
        labels: The pod's, by which the Deployment finds it.
        container: The container, but for what is the same in all.
        pod: The rest of the pod's spec.
    """
    common = {"imagePullPolicy": "Never", "securityContext": SECURITY}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": dict(metadata),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(labels)},
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {"containers": [{**container, **common}], **pod},
            },
        },
    }
