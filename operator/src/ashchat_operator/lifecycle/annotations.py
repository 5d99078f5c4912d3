"""What a person asks of the operator by annotations of an AshChat: pause, restart.

An annotation is a wish, and its value a stamp: any text. The status says which stamp was
handled, so a wish is carried out once, whenever it is seen and by whichever operator. What
was handled stays in the status: taking the annotation off again restarts nothing.
"""

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ashchat_operator.resource.model import GROUP
from ashchat_operator.status.conditions import Component, Finding, renewed

Object = dict[str, Any]

PAUSE: Final = f"{GROUP}/pause"
RESTART: Final = f"{GROUP}/restart-"
STAMP: Final = f"{GROUP}/restart"
"""On pod templates: the stamp they were last restarted for."""

_STAMP_MAX: Final = 64
_TEMPLATES: Final = frozenset({"Deployment", "StatefulSet"})


@dataclass(frozen=True, slots=True)
class Commands:
    """What is asked for now."""

    paused: bool = False
    restarts: Mapping[str, str] = field(default_factory=dict)
    """Component → stamp: what was handled before, and what is asked for now."""
    unknown: Sequence[str] = ()
    """Annotations that name no component."""
    components: Sequence[str] = ()
    """The names that there are."""
    handled: Mapping[str, str] = field(default_factory=dict)
    """Component → stamp that the status has."""

    @property
    def findings(self) -> Mapping[str, Finding]:
        """Return the conditions, for when all that is asked for has been applied."""
        pause = ("False", "NotPaused", "")
        if self.paused:
            pause = (
                "True",
                "PausedByAnnotation",
                f"nothing is applied, declared or deleted while annotation {PAUSE} is true",
            )
        return {"Paused": pause, "LeversHandled": self._handled()}

    def _handled(self) -> Finding:
        if self.unknown:
            names, valid = ", ".join(self.unknown), ", ".join(self.components)
            return "False", "UnknownComponent", f"{names}: no such component; there are {valid}"
        waiting = [name for name, stamp in self.restarts.items() if self.handled.get(name) != stamp]
        if self.paused and waiting:
            says = f"{', '.join(waiting)}: restarted when annotation {PAUSE} is taken off"
            return "False", "Paused", says
        if not self.restarts:
            return "True", "NothingAsked", ""
        says = ", ".join(f"{name} ({stamp})" for name, stamp in self.restarts.items())
        return "True", "Handled", f"restarted: {says}"

    def status(self) -> Object:
        """Return what the status says of the levers that were applied."""
        return {"levers": {"restarts": dict(self.restarts)}} if self.restarts else {}


def read(body: Mapping[str, Any], components: Sequence[str]) -> Commands:
    """Return what an AshChat's annotations ask for.

    Args:
        body: The resource as the API server gives it.
        components: The names of its components.
    """
    annotations: Mapping[str, str] = body["metadata"].get("annotations") or {}
    handled = body.get("status", {}).get("levers", {}).get("restarts", {})
    wished = {
        key.removeprefix(RESTART): _short(stamp)
        for key, stamp in annotations.items()
        if key.startswith(RESTART) and stamp
    }
    restarts = {**handled, **wished}
    return Commands(
        paused=annotations.get(PAUSE, "").lower() == "true",
        restarts={name: restarts[name] for name in components if name in restarts},
        unknown=sorted(f"{RESTART}{name}" for name in wished if name not in components),
        components=components,
        handled=handled,
    )


def stamped(objects: Iterable[Object], commands: Commands) -> list[Object]:
    """Return rendered objects with the stamps on the pod templates of what is restarted."""
    result = []
    for item in objects:
        component = item["metadata"]["labels"].get("app.kubernetes.io/component")
        stamp = commands.restarts.get(component, "") if item["kind"] in _TEMPLATES else ""
        if stamp:
            item = copy.deepcopy(item)  # noqa: PLW2901 (rendered objects are left as they are)
            metadata = item["spec"]["template"]["metadata"]
            metadata["annotations"] = {**metadata.get("annotations", {}), STAMP: stamp}
        result.append(item)
    return result


def paused_status(
    former: Mapping[str, Any], components: Sequence[Component], commands: Commands, now: str
) -> Object:
    """Return the status while paused: how the components are; the rest is as it was.

    `observedGeneration` stays too, since a newer spec was not applied.

    Args:
        former: The status as it was.
        components: The components as they are.
        commands: The annotation commands.
        now: The time (RFC 3339) of transitions that happen now.
    """
    before = {item["type"]: item for item in former.get("conditions", [])}
    waiting = [item for item in components if not item.ready]
    as_wanted = ("TopologyReady", "True"), ("Degraded", "False")
    in_order = all(before.get(kind, {}).get("status") == value for kind, value in as_wanted)
    findings = dict(commands.findings)
    if waiting:
        says = "; ".join(f"{x.name}: {x.message or x.reason}" for x in waiting)
        findings["Ready"] = ("False", "ComponentsNotReady", f"paused; {says}")
    elif in_order:
        findings["Ready"] = ("True", "Ready", "every component is ready; paused")
    generation = former.get("observedGeneration", 0)
    for kind, finding in findings.items():
        known = before.get(kind)
        seen = known.get("observedGeneration", generation) if known else generation
        before[kind] = renewed(kind, finding, known, seen, now)
    return {
        **former,
        "componentsReady": f"{len(components) - len(waiting)}/{len(components)}",
        "conditions": list(before.values()),
        "components": [item.status() for item in components],
    }


def _short(stamp: str) -> str:
    """Return a stamp, or a digest of one that is too long for a status."""
    if len(stamp) <= _STAMP_MAX:
        return stamp
    return f"sha256:{hashlib.sha256(stamp.encode()).hexdigest()[:32]}"
