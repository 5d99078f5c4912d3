"""Shared by the node's Deployments: one pod with minimal permissions."""

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
        metadata: The Deployment's metadata.
        labels: The pod's labels, which the Deployment selects.
        container: The container, without the shared fields.
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
