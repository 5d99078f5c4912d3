"""Kubernetes objects and queues, as the other modules see them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ashchat_core.api.names import Label

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Depth:
    """The depth of a queue."""

    messages: int
    """Messages ready to be delivered."""
    consumers: int


def labels(name: str, component: str = "") -> dict[str, str]:
    """Return the labels of the objects of an AshChat, or of one of its components."""
    own = {Label.NAME.value: "ashchat", Label.INSTANCE.value: name}
    return {**own, Label.COMPONENT: component} if component else own


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is ready and not terminating."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
