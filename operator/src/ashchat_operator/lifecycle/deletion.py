"""Decides what is deleted with an AshChat and what stays. Pure; `cleanup` carries it out.

With `deletionPolicy: Retain` nothing has to be done: owned objects are garbage-collected, claims
and credential Secrets have no owner. So there is no finalizer, and no deletion ever waits for the
operator. With `Delete` a finalizer holds the resource until its data is deleted too, or until the
time for that is over.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import FINALIZER, OPERATOR, Label
from ashchat_core.api.reasons import Reason
from ashchat_operator.resource.enums import DeletionPolicy
from ashchat_operator.resource.types import ObjectView
from ashchat_operator.status.conditions import renewed

PATIENCE: Final = timedelta(minutes=10)
"""Time after the deletion at which the resource is released, whatever is left."""

OUTSIDE_PATIENCE: Final = timedelta(minutes=5)
"""Time after the deletion at which data is deleted although a cleanup outside has failed."""


def policy(body: ObjectView) -> DeletionPolicy:
    """Return the policy of a resource, even if the rest of its spec is not valid."""
    written = body.get("spec", {}).get("deletionPolicy")
    return DeletionPolicy.DELETE if written == DeletionPolicy.DELETE else DeletionPolicy.RETAIN


def deleting(body: ObjectView) -> bool:
    """Return whether a resource is being deleted."""
    return "deletionTimestamp" in body["metadata"]


def holds(body: ObjectView) -> bool:
    """Return whether the operator's finalizer holds a resource."""
    return FINALIZER in body["metadata"].get("finalizers", [])


def finalizers(body: ObjectView) -> list[str] | None:
    """Return the finalizers that a resource must have; None: it has them."""
    wanted = policy(body) is DeletionPolicy.DELETE
    if wanted == holds(body):
        return None
    return [*others(body), FINALIZER] if wanted else others(body)


def others(body: ObjectView) -> list[str]:
    """Return the finalizers that are not the operator's."""
    return [name for name in body["metadata"].get("finalizers", []) if name != FINALIZER]


def waited(body: ObjectView, now: datetime) -> timedelta:
    """Return how long ago a resource was deleted."""
    return now - datetime.fromisoformat(body["metadata"]["deletionTimestamp"])


def belongs(body: ObjectView, child: ObjectView) -> bool:
    """Return whether an object belongs to this resource, by its labels and by its name.

    Labels alone can be set by anyone, and the prefix of a name may be that of another AshChat
    (`demo` and `demo-auth`). An object with another owner belongs to that owner.
    """
    own, metadata = body["metadata"], child["metadata"]
    labels = metadata.get("labels", {})
    if labels.get(Label.INSTANCE) != own["name"] or labels.get(Label.MANAGED_BY) != OPERATOR:
        return False
    if any(owner["uid"] != own["uid"] for owner in metadata.get("ownerReferences", [])):
        return False
    name = metadata["name"]
    stem = f"{own['name']}-{labels.get(Label.COMPONENT)}"
    return bool(name == stem or name.startswith((f"{stem}-", f"data-{stem}-")))


def condition(
    former: Sequence[ObjectView], left: Sequence[str], generation: int, now: str
) -> list[Any]:
    """Return the conditions of a resource whose deletion waits.

    Args:
        former: The conditions as they were.
        left: What still exists, for the user.
        generation: The resource's.
        now: The time (RFC 3339) of a transition that happens now.
    """
    before = next((item for item in former if item["type"] == ConditionType.READY), None)
    message = f"deletionPolicy is Delete; waiting for the deletion of {', '.join(left)}"
    ready = renewed(
        ConditionType.READY,
        Finding(ConditionStatus.FALSE, Reason.DELETING, message),
        before,
        generation,
        now,
    )
    return [ready, *(item for item in former if item["type"] != ConditionType.READY)]
