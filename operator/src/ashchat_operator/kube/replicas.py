"""Who sets a Deployment's replicas: we, or an autoscaler; and how that changes hands. Pure.

Leaving a field out that we applied takes it out: replicas would fall to their default, 1.
So somebody else has to hold the field before we let go of it
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership).
"""

from collections.abc import Mapping
from typing import Any, Final

from ashchat_operator.kube.compare import applied_by_us
from ashchat_operator.resource.types import Object

HOLDER: Final = "ashchat-operator-replicas"
"""The field manager that holds the replicas until the autoscaler writes them."""


def autoscaled(desired: Object) -> bool:
    """Tell whether an object is a Deployment whose replicas an autoscaler sets."""
    return desired["kind"] == "Deployment" and "replicas" not in desired["spec"]


def with_first(desired: Object, scaler: Mapping[str, Any]) -> Object:
    """Return a Deployment that is to be made, with the fewest pods its autoscaler allows."""
    return {**desired, "spec": {**desired["spec"], "replicas": scaler["spec"]["minReplicas"]}}


def hand_over(desired: Object, live: Object, scaler: Mapping[str, Any]) -> Object | None:
    """Return what HOLDER is to apply before we leave the replicas out; None: we hold none.

    The number stays what it is, within the autoscaler's bounds: of a Deployment without
    pods it would keep its hands off.
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
