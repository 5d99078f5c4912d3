"""What goes with an AshChat and what stays: the rules, without I/O; `cleanup` acts by them.

With `deletionPolicy: Retain` nothing has to be done: owned objects go by their owner
references, claims and credential Secrets have none. So there is no finalizer, and no
deletion ever waits for the operator. With `Delete` a finalizer keeps the resource until its
data is gone too, or until the time for that is over.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from ashchat_operator.resource.model import DeletionPolicy
from ashchat_operator.resource.names import (
    COMPONENT_LABEL,
    INSTANCE_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
)
from ashchat_operator.status.conditions import renewed

Object = Mapping[str, Any]

FINALIZER: Final = "ashchat.dev/cleanup"

PATIENCE: Final = timedelta(minutes=10)
"""From the deletion on: then the resource is let go, whatever is left."""

OUTSIDE_PATIENCE: Final = timedelta(minutes=5)
"""From the deletion on: then data goes although something outside could not be cleaned up."""


def policy(body: Object) -> DeletionPolicy:
    """Return a resource's policy, also where the rest of it cannot be read."""
    written = body.get("spec", {}).get("deletionPolicy")
    return DeletionPolicy.DELETE if written == DeletionPolicy.DELETE else DeletionPolicy.RETAIN


def deleting(body: Object) -> bool:
    """Tell whether a resource is being deleted."""
    return "deletionTimestamp" in body["metadata"]


def holds(body: Object) -> bool:
    """Tell whether the operator's finalizer holds a resource."""
    return FINALIZER in body["metadata"].get("finalizers", [])


def finalizers(body: Object) -> list[str] | None:
    """Return the finalizers that a living resource is to have; None: it has them."""
    wanted = policy(body) is DeletionPolicy.DELETE
    if wanted == holds(body):
        return None
    return [*others(body), FINALIZER] if wanted else others(body)


def others(body: Object) -> list[str]:
    """Return the finalizers that are not the operator's."""
    return [name for name in body["metadata"].get("finalizers", []) if name != FINALIZER]


def waited(body: Object, now: datetime) -> timedelta:
    """Return how long ago a resource was deleted."""
    return now - datetime.fromisoformat(body["metadata"]["deletionTimestamp"])


def belongs(body: Object, child: Object) -> bool:
    """Tell whether an object is this resource's: by its labels and by its name.

    The labels alone may be anybody's, and a name's beginning another AshChat's (`demo` and
    `demo-auth`). What another owner claims is that owner's.
    """
    own, metadata = body["metadata"], child["metadata"]
    labels = metadata.get("labels", {})
    if labels.get(INSTANCE_LABEL) != own["name"] or labels.get(MANAGED_BY_LABEL) != MANAGER:
        return False
    if any(owner["uid"] != own["uid"] for owner in metadata.get("ownerReferences", [])):
        return False
    name = metadata["name"]
    stem = f"{own['name']}-{labels.get(COMPONENT_LABEL)}"
    return bool(name == stem or name.startswith((f"{stem}-", f"data-{stem}-")))


def condition(
    former: Sequence[Object], left: Sequence[str], generation: int, now: str
) -> list[Any]:
    """Return the conditions of a resource whose deletion waits.

    Args:
        former: The conditions as they were.
        left: What is still there, for a person.
        generation: The resource's.
        now: The time (RFC 3339) of a transition that happens now.
    """
    before = next((item for item in former if item["type"] == "Ready"), None)
    says = f"deletionPolicy is Delete; still there: {', '.join(left)}"
    ready = renewed("Ready", ("False", "Deleting", says), before, generation, now)
    return [ready, *(item for item in former if item["type"] != "Ready")]
