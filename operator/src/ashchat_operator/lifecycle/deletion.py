"""What goes with an AshChat and what stays: the rules, without I/O; `cleanup` acts by them.

With `deletionPolicy: Retain` nothing has to be done: owned objects go by their owner
references, claims and credential Secrets have none. So there is no finalizer, and no
deletion ever waits for the operator. With `Delete` a finalizer keeps the resource until its
data is gone too, or until the time for that is over.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import FINALIZER, OPERATOR, Label
from ashchat_core.api.reasons import Reason
from ashchat_operator.resource.model import DeletionPolicy
from ashchat_operator.resource.types import ObjectView
from ashchat_operator.status.conditions import renewed

PATIENCE: Final = timedelta(minutes=10)
"""From the deletion on: then the resource is let go, whatever is left."""

OUTSIDE_PATIENCE: Final = timedelta(minutes=5)
"""From the deletion on: then data goes although something outside could not be cleaned up."""


def policy(body: ObjectView) -> DeletionPolicy:
    """Return a resource's policy, also where the rest of it cannot be read."""
    written = body.get("spec", {}).get("deletionPolicy")
    return DeletionPolicy.DELETE if written == DeletionPolicy.DELETE else DeletionPolicy.RETAIN


def deleting(body: ObjectView) -> bool:
    """Tell whether a resource is being deleted."""
    return "deletionTimestamp" in body["metadata"]


def holds(body: ObjectView) -> bool:
    """Tell whether the operator's finalizer holds a resource."""
    return FINALIZER in body["metadata"].get("finalizers", [])


def finalizers(body: ObjectView) -> list[str] | None:
    """Return the finalizers that a living resource is to have; None: it has them."""
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
    """Tell whether an object is this resource's: by its labels and by its name.

    The labels alone may be anybody's, and a name's beginning another AshChat's (`demo` and
    `demo-auth`). What another owner claims is that owner's.
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
        left: What is still there, for a person.
        generation: The resource's.
        now: The time (RFC 3339) of a transition that happens now.
    """
    before = next((item for item in former if item["type"] == ConditionType.READY), None)
    says = f"deletionPolicy is Delete; still there: {', '.join(left)}"
    ready = renewed(
        ConditionType.READY,
        Finding(ConditionStatus.FALSE, Reason.DELETING, says),
        before,
        generation,
        now,
    )
    return [ready, *(item for item in former if item["type"] != ConditionType.READY)]
