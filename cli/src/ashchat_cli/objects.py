"""What is known of the objects that everything else speaks about. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ashchat_core.api.names import Label

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Depth:
    """How a queue is."""

    messages: int
    """Ready to be delivered."""
    consumers: int


def labels(name: str, component: str = "") -> dict[str, str]:
    """Return the labels of what belongs to an AshChat, or to one component of it."""
    own = {Label.NAME.value: "ashchat", Label.INSTANCE.value: name}
    return {**own, Label.COMPONENT: component} if component else own


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod serves."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
