"""The status of an AshChat, from the findings of one reconcile pass.

Pure; the time is an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ashchat_core.api.conditions import ConditionStatus, ConditionType, Finding
from ashchat_core.api.reasons import Reason
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.resource.enums import ExposureType, ServiceType
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child
from ashchat_operator.resource.types import Live, Object, ObjectView
from ashchat_operator.status.components import MESSAGE_MAX_CHARS, Component


def reported(status: ObjectView) -> list[Finding]:
    """Return the findings in the conditions of a status."""
    return [
        Finding(ConditionStatus(item["status"]), item["reason"], item["message"])
        for item in status.get("conditions", [])
    ]


def renewed(
    kind: ConditionType, finding: Finding, before: ObjectView | None, generation: int, now: str
) -> Object:
    """Return an updated condition; `lastTransitionTime` changes only with the status.

    Args:
        kind: Its type.
        finding: What it reports now.
        before: The previous condition, or None.
        generation: The generation of the resource that the finding is about.
        now: The time (RFC 3339), used if its status has changed.
    """
    same = before is not None and before["status"] == finding.status
    return {
        "type": str(kind),
        "status": str(finding.status),
        "reason": str(finding.reason),
        "message": finding.message[:MESSAGE_MAX_CHARS],
        "lastTransitionTime": before["lastTransitionTime"] if before and same else now,
        "observedGeneration": generation,
    }


def with_one(body: ObjectView, kind: ConditionType, finding: Finding, now: str) -> Object:
    """Return the previous status with one condition updated.

    Args:
        body: The resource.
        kind: The condition's type.
        finding: What it reports now.
        now: The time (RFC 3339), used if its status has changed.
    """
    former = body.get("status", {})
    before = next((item for item in former.get("conditions", []) if item["type"] == kind), None)
    condition = renewed(kind, finding, before, body["metadata"]["generation"], now)
    others = [item for item in former.get("conditions", []) if item["type"] != kind]
    # Ready comes first, because users read it first.
    order = [condition, *others] if kind is ConditionType.READY else [*others, condition]
    return {**former, "conditions": order}


def invalid(fields: Sequence[tuple[str, str]]) -> Finding:
    """Return the condition Ready of a resource that does not match the operator's schema.

    Args:
        fields: The path of each field and what is wrong there; never a value.
    """
    wrong = "; ".join(f"{path}: {message}" for path, message in fields)
    return Finding(
        ConditionStatus.FALSE,
        Reason.INVALID_SPEC,
        f"{wrong}. The API server accepted it, so its CustomResourceDefinition is not the "
        "operator's: apply that, then correct the resource",
    )


def edge_url(ash: AshChat, live: Live) -> str:
    """Return the public address as far as the cluster reveals it; empty if not known yet."""
    if ash.spec.public_url:
        return ash.spec.public_url.rstrip("/")
    service = live.get(("Service", child(ash, "edge")))
    if ash.spec.exposure.type is not ExposureType.EDGE or service is None:
        return ""
    scheme = "http" if ash.spec.exposure.edge.tls is None else "https"
    if ash.spec.exposure.edge.service_type is ServiceType.LOAD_BALANCER:
        for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
            return f"{scheme}://{ingress.get('hostname') or ingress['ip']}"
        return ""
    return f"{scheme}://{child(ash, 'edge')}.{ash.namespace}.svc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one reconcile pass reports about an AshChat."""

    components: Sequence[Component]
    """All components, each with the reason if it is not ready."""
    results: Mapping[Backend, BackendResult]
    """What the administration clients read back; without backends that were not checked."""
    problems: Sequence[str] = ()
    """Problems that prevent this generation from being applied, each with what to do."""
    problem_reason: Reason = Reason.REFUSED
    """The reason of the conditions that report `problems`."""
    backends: Mapping[str, Object] = field(default_factory=dict)
    """For each backend, whether it is managed or external."""
    url: str
    version: str
    """The operator's version."""
    key_ring: Mapping[str, str]
    """Fingerprints of the keys for secrets at rest, by version."""
    more: Mapping[ConditionType, Finding] = field(default_factory=dict)
    """Further conditions."""

    @property
    def waiting(self) -> list[Component]:
        """The components that are not ready."""
        return [item for item in self.components if not item.ready]

    def findings(self) -> dict[ConditionType, Finding]:
        """Return all conditions."""
        topology = _topology(self.results)
        return {
            ConditionType.READY: self._ready(topology),
            ConditionType.PROGRESSING: self._progressing(),
            ConditionType.DEGRADED: self._degraded(),
            ConditionType.BACKENDS_READY: self._backends_ready(),
            ConditionType.TOPOLOGY_READY: topology,
            **self.more,
        }

    def _message(self) -> str:
        waiting = [f"{x.name}: {x.message or x.reason}" for x in self.waiting]
        return "; ".join([*self.problems, *waiting])

    def _ready(self, topology: Finding) -> Finding:
        if not self.waiting and not self.problems and topology.status is ConditionStatus.TRUE:
            return Finding(
                ConditionStatus.TRUE,
                Reason.READY,
                "every component is ready; users, queues and permissions were read back",
            )
        reason = self.problem_reason if self.problems else Reason.COMPONENTS_NOT_READY
        return Finding(ConditionStatus.FALSE, reason, self._message() or topology.message)

    def _progressing(self) -> Finding:
        if self.waiting and not self.problems:
            return Finding(ConditionStatus.TRUE, Reason.WAITING, self._message())
        return Finding(ConditionStatus.FALSE, Reason.UP_TO_DATE)

    def _degraded(self) -> Finding:
        if self.problems:
            return Finding(ConditionStatus.TRUE, self.problem_reason, "; ".join(self.problems))
        return Finding(ConditionStatus.FALSE, Reason.UP_TO_DATE)

    def _backends_ready(self) -> Finding:
        down = [item for item in self.waiting if item.name in {*Backend}]
        if down:
            message = "; ".join(f"{item.name}: {item.message}" for item in down)
            return Finding(ConditionStatus.FALSE, down[0].reason, message)
        return Finding(
            ConditionStatus.TRUE, Reason.AVAILABLE, "RabbitMQ, Redis, the cache and MongoDB answer"
        )


def status(ash: AshChat, report: Report, former: Mapping[str, Any], now: str) -> Object:
    """Return the whole status.

    Args:
        ash: The AshChat.
        report: What the reconcile pass found.
        former: The previous status, for the times of past transitions.
        now: The current time (RFC 3339), for transitions in this pass.
    """
    before = {item["type"]: item for item in former.get("conditions", [])}
    ready = len(report.components) - len(report.waiting)
    return {
        "observedGeneration": ash.generation,
        "url": report.url,
        "operatorVersion": report.version,
        "backends": dict(report.backends),
        "keyRing": dict(sorted(report.key_ring.items())),
        "componentsReady": f"{ready}/{len(report.components)}",
        "conditions": [
            renewed(kind, finding, before.get(kind), ash.generation, now)
            for kind, finding in report.findings().items()
        ],
        "components": [item.status() for item in report.components],
    }


def _topology(results: Mapping[Backend, BackendResult]) -> Finding:
    for backend in Backend:
        result = results.get(backend)
        if result is None:
            return Finding(
                ConditionStatus.UNKNOWN, Reason.NOT_CHECKED, f"{backend} is not available yet"
            )
        if not result.ready:
            return Finding(ConditionStatus.FALSE, result.reason, f"{backend}: {result.message}")
    shared = [result for result in results.values() if not result.least_privilege]
    if shared:
        return Finding(
            ConditionStatus.TRUE, shared[0].reason, " ".join(result.message for result in shared)
        )
    return Finding(
        ConditionStatus.TRUE, Reason.DECLARED, "queues, users and permissions are as declared"
    )
