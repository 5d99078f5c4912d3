"""Annotation commands: pause and restart, requested by annotations of an AshChat.

The value of a restart annotation is a token: any text. The status records the token that was
handled, so a restart is carried out once, whenever it is seen and by whichever operator. The
record stays: removing the annotation restarts nothing.
"""

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.names import Annotation, Label, restart_annotation
from ashchat_core.api.reasons import Reason
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.types import WORKLOADS, Object
from ashchat_operator.status.components import Component
from ashchat_operator.status.conditions import renewed

_TOKEN_MAX_CHARS: Final = 64
_RESTART_PREFIX: Final = restart_annotation("")


@dataclass(frozen=True, slots=True)
class Commands:
    """The annotation commands of one AshChat."""

    paused: bool = False
    restarts: Mapping[str, str] = field(default_factory=dict)
    """Component → token: those handled before, and those requested now."""
    unknown: Sequence[str] = ()
    """Annotations that name a component that does not exist."""
    components: Sequence[str] = ()
    """The components that exist."""
    handled: Mapping[str, str] = field(default_factory=dict)
    """Component → token that the status records."""

    @property
    def findings(self) -> Mapping[ConditionType, Finding]:
        """Return the conditions, assuming that every request has been applied."""
        pause = Finding(ConditionStatus.FALSE, Reason.NOT_PAUSED)
        if self.paused:
            pause = Finding(
                ConditionStatus.TRUE,
                Reason.PAUSED_BY_ANNOTATION,
                f"nothing is applied, declared or deleted while annotation {Annotation.PAUSE} is "
                "true",
            )
        return {ConditionType.PAUSED: pause, ConditionType.COMMANDS_HANDLED: self._handled()}

    def _handled(self) -> Finding:
        if self.unknown:
            names, valid = ", ".join(self.unknown), ", ".join(self.components)
            return Finding(
                ConditionStatus.FALSE,
                Reason.UNKNOWN_COMPONENT,
                f"{names}: no such component; valid are {valid}",
            )
        waiting = [name for name, token in self.restarts.items() if self.handled.get(name) != token]
        if self.paused and waiting:
            return Finding(
                ConditionStatus.FALSE,
                Reason.PAUSED,
                f"{', '.join(waiting)}: restarted when annotation {Annotation.PAUSE} is removed",
            )
        if not self.restarts:
            return Finding(ConditionStatus.TRUE, Reason.NOTHING_REQUESTED)
        restarted = ", ".join(f"{name} ({token})" for name, token in self.restarts.items())
        return Finding(ConditionStatus.TRUE, Reason.HANDLED, f"restarted: {restarted}")

    def status(self) -> Object:
        """Return the part of the status that records the handled commands."""
        return {"commands": {"restarts": dict(self.restarts)}} if self.restarts else {}


def handled_restarts(status: Mapping[str, Any]) -> Mapping[str, str]:
    """Return component → token of the restarts that a status records."""
    found: Mapping[str, str] = status.get("commands", {}).get("restarts", {})
    return found


def read(ash: AshChat, components: Sequence[str]) -> Commands:
    """Return the commands in an AshChat's annotations.

    Args:
        ash: The resource.
        components: The names of its components.
    """
    annotations = ash.annotations
    handled = handled_restarts(ash.status)
    requested = {
        key.removeprefix(_RESTART_PREFIX): _short(token)
        for key, token in annotations.items()
        if key.startswith(_RESTART_PREFIX) and token
    }
    restarts = {**handled, **requested}
    return Commands(
        paused=annotations.get(Annotation.PAUSE, "").lower() == "true",
        restarts={name: restarts[name] for name in components if name in restarts},
        unknown=sorted(restart_annotation(name) for name in requested if name not in components),
        components=components,
        handled=handled,
    )


def with_restart_tokens(objects: Iterable[Object], commands: Commands) -> list[Object]:
    """Return rendered objects, with the tokens on the pod templates of restarted components."""
    result = []
    for item in objects:
        component = item["metadata"]["labels"].get(Label.COMPONENT)
        token = commands.restarts.get(component, "") if item["kind"] in WORKLOADS else ""
        if token:
            item = copy.deepcopy(item)  # noqa: PLW2901 (rendered objects are left as they are)
            metadata = item["spec"]["template"]["metadata"]
            metadata["annotations"] = {
                **metadata.get("annotations", {}),
                Annotation.RESTART.value: token,
            }
        result.append(item)
    return result


def paused_status(
    former: Mapping[str, Any], components: Sequence[Component], commands: Commands, now: str
) -> Object:
    """Return the status while paused: the components are current, the rest stays as it was.

    `observedGeneration` stays too, because a newer spec was not applied.

    Args:
        former: The status as it was.
        components: The components as they are.
        commands: The annotation commands.
        now: The time (RFC 3339) of transitions that happen now.
    """
    before = {item["type"]: item for item in former.get("conditions", [])}
    waiting = [item for item in components if not item.ready]
    required = {
        ConditionType.TOPOLOGY_READY: ConditionStatus.TRUE,
        ConditionType.DEGRADED: ConditionStatus.FALSE,
    }
    in_order = all(before.get(kind, {}).get("status") == value for kind, value in required.items())
    findings = dict(commands.findings)
    if waiting:
        reasons = "; ".join(f"{x.name}: {x.message or x.reason}" for x in waiting)
        findings[ConditionType.READY] = Finding(
            ConditionStatus.FALSE, Reason.COMPONENTS_NOT_READY, f"paused; {reasons}"
        )
    elif in_order:
        findings[ConditionType.READY] = Finding(
            ConditionStatus.TRUE, Reason.READY, "every component is ready; paused"
        )
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


def _short(token: str) -> str:
    """Return a token, or a digest of one that is too long for a status."""
    if len(token) <= _TOKEN_MAX_CHARS:
        return token
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()[:32]}"
