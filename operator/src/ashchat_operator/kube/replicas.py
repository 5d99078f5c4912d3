"""Hands the replicas of a Deployment over to an autoscaler. Pure.

Omitting a field that we applied removes it, and replicas would fall to their default, 1. So another
manager must own the field before we release it
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership).
"""

from collections.abc import Mapping
from typing import Any, Final

from ashchat_operator.kube.compare import applied_by_us
from ashchat_operator.resource.types import Object

HOLDER: Final = "ashchat-operator-replicas"
"""The field manager that holds the replicas until the autoscaler writes them."""


def autoscaled(desired: Object) -> bool:
    """Return whether an object is a Deployment whose replicas an autoscaler sets."""
    return desired["kind"] == "Deployment" and "replicas" not in desired["spec"]


def with_first(desired: Object, scaler: Mapping[str, Any]) -> Object:
    """Return a Deployment to create, with the minimum replicas of its autoscaler."""
    return {**desired, "spec": {**desired["spec"], "replicas": scaler["spec"]["minReplicas"]}}


def hand_over(desired: Object, live: Object, scaler: Mapping[str, Any]) -> Object | None:
    """Return what HOLDER must apply before we omit the replicas; None: we do not own them.

    The number stays the same, within the bounds of the autoscaler, which ignores a Deployment
    that is scaled to zero.
    """
    entries = [entry for entry in live["metadata"].get("managedFields", []) if applied_by_us(entry)]
    if not any("f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}) for entry in entries):
        return None
    bounds = scaler["spec"]
    now = live["spec"].get("replicas", 1)
    return {
        "apiVersion": desired["apiVersion"],
        "kind": desired["kind"],
        "metadata": {key: desired["metadata"][key] for key in ("name", "namespace")},
        "spec": {"replicas": min(max(now, bounds["minReplicas"]), bounds["maxReplicas"])},
    }
