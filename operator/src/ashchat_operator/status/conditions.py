"""The status of an AshChat, from what was found; pure but for the clock, which comes in.

Conditions follow the API conventions
(https://github.com/kubernetes/community/blob/main/contributors/devel/sig-architecture/api-conventions.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.backends.external import blocks
from ashchat_operator.credentials.candidates import Decision
from ashchat_operator.resource.model import AshChat, ExposureType, ServiceType
from ashchat_operator.resource.names import child

Object = dict[str, Any]
Live = Mapping[tuple[str, str], Object]
Finding = tuple[str, str, str]
"""A condition's status, reason and message."""

STATEFUL: Final = frozenset({Backend.RABBITMQ.value, Backend.REDIS.value, Backend.MONGODB.value})
EXTERNAL: Final = "External"
"""The reason of a backend that somebody else runs and that is in order."""

_MESSAGE_MAX: Final = 2000
_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff"})
_ON_ITS_WAY: Final = frozenset({"ContainerCreating", "PodInitializing", "Starting"})


@dataclass(frozen=True, slots=True)
class Component:
    """How a component is."""

    name: str
    ready: bool
    reason: str
    message: str = ""
    replicas: int = 0
    ready_replicas: int = 0
    image: str = ""

    def status(self) -> Object:
        """Return its entry in the status."""
        entry: Object = {
            "name": self.name,
            "ready": self.ready,
            "reason": self.reason,
            "replicas": self.replicas,
            "readyReplicas": self.ready_replicas,
        }
        if self.message:
            entry["message"] = self.message[:_MESSAGE_MAX]
        if self.image:
            entry["image"] = self.image
        return entry


def component(ash: AshChat, name: str, live: Live, pods: Sequence[Object]) -> Component:
    """Return how a component's pods are.

    Args:
        ash: Whose it is.
        name: The component.
        live: The objects found.
        pods: The component's pods, to tell why they are not ready; may be empty.
    """
    if name in blocks(ash):
        return Component(name, ready=True, reason=EXTERNAL)  # whether it answers: `with_topology`
    kind = "StatefulSet" if name in STATEFUL else "Deployment"
    body = live.get((kind, child(ash, name)))
    if body is None or "deletionTimestamp" in body["metadata"]:
        return Component(name, ready=False, reason="Missing", message="it is being made")
    status = body.get("status", {})
    replicas = body["spec"].get("replicas", 1)
    ready = min(status.get("readyReplicas", 0), replicas)
    # Pods beyond an autoscaler's fewest come and go; what they serve is there without them.
    scaler = live.get(("HorizontalPodAutoscaler", child(ash, name)), {"spec": {}})["spec"]
    enough = min(replicas, scaler.get("minReplicas", replicas))
    # Counts of an older generation say nothing about this one.
    current = status.get("observedGeneration", 0) >= body["metadata"]["generation"]
    rolled = current and status.get("updatedReplicas", 0) >= enough
    if kind == "Deployment":
        rolled = rolled and status.get("replicas", 0) == status.get("updatedReplicas", 0)
    else:
        rolled = rolled and status.get("currentRevision") == status.get("updateRevision")
    image = body["spec"]["template"]["spec"]["containers"][0]["image"]
    # Beta since Kubernetes 1.35; where it is missing, nobody can tell (KEP-3973).
    stopping = status.get("terminatingReplicas", 0)
    if not replicas and stopping:
        return Component(name, False, "Stopping", f"{stopping} still end", 0, 0, image)  # noqa: FBT003
    if rolled and ready >= enough:
        reason = "Available" if replicas else "ScaledToZero"
        return Component(name, True, reason, "", replicas, ready, image)  # noqa: FBT003
    reason, message = _why(pods)
    if reason == "Starting":
        reason = "Starting" if ready < replicas else "RollingOut"
        message = message or f"{ready} of {replicas} ready"
    return Component(name, False, reason, message, replicas, ready, image)  # noqa: FBT003


def _why(pods: Sequence[Object]) -> tuple[str, str]:
    """Return why pods are not ready: the first thing that will not mend itself."""
    for pod in pods:
        status = pod.get("status", {})
        states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        for state in states:
            waiting = state.get("state", {}).get("waiting", {})
            reason = waiting.get("reason", "Starting")
            if reason in _PULLING:
                # Both in turn, each with its own words: one of them, or the status would be
                # written again at every try.
                return "ImagePullBackOff", f"{state['name']}: cannot pull {state['image']}"
            if reason == "CrashLoopBackOff":
                return reason, f"{state['name']} ends soon after each start; see its log"
            if reason not in _ON_ITS_WAY:
                return reason, f"{state['name']}: {waiting.get('message') or reason}"
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return condition.get("reason", "Unschedulable"), condition.get("message", "")
    return "Starting", ""


def with_topology(component: Component, results: Mapping[Backend, BackendResult]) -> Component:
    """Return a backend as not ready while its users and queues are not in order."""
    result = results.get(Backend(component.name)) if component.name in {*Backend} else None
    if component.reason == EXTERNAL and result is None:
        return replace(component, ready=False, reason="NotAskedYet", message="it is being asked")
    if not component.ready or result is None or result.ready:
        return component
    return Component(
        component.name,
        False,  # noqa: FBT003
        result.reason.value,
        result.message,
        component.replicas,
        component.ready_replicas,
        component.image,
    )


def key_ring_lost(ash: AshChat, versions: Sequence[str]) -> str:
    """Return what to do about lost keys for secrets at rest; empty: none is lost."""
    if not versions:
        return ""
    name, copy = child(ash, "auth-key-ring"), child(ash, "auth-key-ring-copy")
    return (
        f"the key ring for second factors lacks what was sealed with (version "
        f"{', '.join(versions)}): restore Secret {name} or {copy} from a backup. No new key is "
        "made in its place. To give up every second factor sealed with it, remove "
        "/status/keyRing"
    )


def with_lost_ring(component: Component, says: str) -> Component:
    """Return auth as not ready while keys for secrets at rest are lost."""
    if component.name != "auth":
        return component
    return replace(component, ready=False, reason="KeyRingLost", message=says)


def with_nothing_given(component: Component, decision: Decision) -> Component:
    """Return the component a person's credentials are for as not ready: it has none that work."""
    if component.name != decision.candidate.component:
        return component
    return replace(component, ready=False, reason=decision.reason.value, message=decision.message)


def said(former: Mapping[str, Any]) -> list[Finding]:
    """Return what the conditions of a status say."""
    return [(x["status"], x["reason"], x["message"]) for x in former.get("conditions", [])]


def renewed(
    kind: str, finding: Finding, before: Mapping[str, Any] | None, generation: int, now: str
) -> Object:
    """Return a condition; the time of its last transition is kept while its status is.

    Args:
        kind: Its type.
        finding: What it says now.
        before: It as it was; None: it is new.
        generation: Of the resource that it is about.
        now: The time (RFC 3339), should its status have changed.
    """
    value, reason, message = finding
    same = before is not None and before["status"] == value
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message[:_MESSAGE_MAX],
        "lastTransitionTime": before["lastTransitionTime"] if before and same else now,
        "observedGeneration": generation,
    }


def with_one(body: Mapping[str, Any], kind: str, finding: Finding, now: str) -> Object:
    """Return the status as it was, but for one condition.

    Args:
        body: The resource.
        kind: The condition's type.
        finding: What it says now.
        now: The time (RFC 3339), should its status have changed.
    """
    former = body.get("status", {})
    before = next((item for item in former.get("conditions", []) if item["type"] == kind), None)
    condition = renewed(kind, finding, before, body["metadata"]["generation"], now)
    kept = [item for item in former.get("conditions", []) if item["type"] != kind]
    # Ready is read first, by people and by kubectl's columns.
    order = [condition, *kept] if kind == "Ready" else [*kept, condition]
    return {**former, "conditions": order}


def invalid(fields: Sequence[tuple[str, str]]) -> Finding:
    """Return the condition Ready of a resource that is not what the schema promises.

    Args:
        fields: Path and what is wrong there; never a value.
    """
    says = "; ".join(f"{path}: {wrong}" for path, wrong in fields)
    why = "The API server let it in, so its CustomResourceDefinition is not the operator's"
    return "False", "InvalidSpec", f"{says}. {why}: apply that, then mend the resource"


def url(ash: AshChat, live: Live) -> str:
    """Return where people reach it, as far as the cluster can tell; empty: not yet known."""
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


def status(
    ash: AshChat,
    *,
    components: Sequence[Component],
    results: Mapping[Backend, BackendResult],
    problems: Sequence[str],
    backends: Mapping[str, Object] = MappingProxyType({}),
    address: str,
    version: str,
    key_ring: Mapping[str, str],
    former: Mapping[str, Any],
    now: str,
    more: Mapping[str, Finding] | None = None,
    problem: str = "Refused",
) -> Object:
    """Return the whole status.

    Args:
        ash: Whose it is.
        components: All components, `with_topology`.
        results: What the admin clients read back; a backend not asked is missing.
        problems: What keeps this generation from being applied, for a person.
        backends: Backend → whether it is managed or external.
        address: Where people reach it.
        version: The operator's version.
        key_ring: Version → fingerprint of the keys for secrets at rest.
        former: The status as it was: times of transitions are kept.
        now: The time (RFC 3339) of transitions that happen now.
        more: Further conditions, by type.
        problem: The reason that the problems are told with.
    """
    waiting = [item for item in components if not item.ready]
    says = "; ".join([*problems, *(f"{x.name}: {x.message or x.reason}" for x in waiting)])
    down = [x for x in waiting if x.name in {*Backend}]
    topology = _topology(results)
    ready = not waiting and not problems and topology[0] == "True"
    found = {
        "Ready": (
            ("True", "Ready", "every component is ready; users, queues and rights were read back")
            if ready
            else ("False", problem if problems else "ComponentsNotReady", says or topology[2])
        ),
        "Progressing": (
            ("True", "Waiting", says) if waiting and not problems else ("False", "Settled", "")
        ),
        "Degraded": (
            ("True", problem, "; ".join(problems)) if problems else ("False", "AsWanted", "")
        ),
        "BackendsReady": (
            ("False", down[0].reason, "; ".join(f"{x.name}: {x.message}" for x in down))
            if down
            else ("True", "Available", "RabbitMQ, Redis, the cache and MongoDB answer")
        ),
        "TopologyReady": topology,
        **(more or {}),
    }
    before = {item["type"]: item for item in former.get("conditions", [])}
    return {
        "observedGeneration": ash.generation,
        "url": address,
        "version": version,
        "backends": dict(backends),
        "keyRing": dict(sorted(key_ring.items())),
        "componentsReady": f"{len(components) - len(waiting)}/{len(components)}",
        "conditions": [
            renewed(kind, finding, before.get(kind), ash.generation, now)
            for kind, finding in found.items()
        ],
        "components": [item.status() for item in components],
    }


def _topology(results: Mapping[Backend, BackendResult]) -> tuple[str, str, str]:
    for backend in Backend:
        result = results.get(backend)
        if result is None:
            return "Unknown", "NotAskedYet", f"{backend} is not up yet"
        if not result.ready:
            return "False", result.reason.value, f"{backend}: {result.message}"
    lax = [result for result in results.values() if not result.least_privilege]
    if lax:
        return "True", lax[0].reason.value, " ".join(result.message for result in lax)
    return "True", "Declared", "queues, users and rights are as the table says"
