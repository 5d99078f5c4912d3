"""The state of each component: its pods, and other causes that keep it from being ready."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ashchat_core.api.reasons import Reason
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.backends.external import blocks
from ashchat_operator.credentials.candidates import Decision
from ashchat_operator.resource.model import AshChat
from ashchat_operator.resource.names import child
from ashchat_operator.resource.types import Live, Object

STATEFUL: Final = frozenset({Backend.RABBITMQ.value, Backend.REDIS.value, Backend.MONGODB.value})
"""The components that are StatefulSets."""

MESSAGE_MAX_CHARS: Final = 2000
_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff"})
_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing", "Starting"})


@dataclass(frozen=True, slots=True)
class Component:
    """The state of a component."""

    name: str
    ready: bool
    reason: str
    """A `Reason`, or one that Kubernetes reports about a pod."""
    message: str = ""
    replicas: int = 0
    ready_replicas: int = 0
    image: str = ""

    def status(self) -> Object:
        """Return the component's entry in the status."""
        entry: Object = {
            "name": self.name,
            "ready": self.ready,
            "reason": str(self.reason),
            "replicas": self.replicas,
            "readyReplicas": self.ready_replicas,
        }
        if self.message:
            entry["message"] = self.message[:MESSAGE_MAX_CHARS]
        if self.image:
            entry["image"] = self.image
        return entry

    def blocked(self, reason: str, message: str) -> "Component":
        """Return the component as not ready, for a reason other than its pods."""
        return replace(self, ready=False, reason=reason, message=message)


def component(ash: AshChat, name: str, live: Live, pods: Sequence[Object]) -> Component:
    """Return the state of a component's pods.

    Args:
        ash: The AshChat.
        name: The component.
        live: The AshChat's objects in the cluster.
        pods: The component's pods, which show why they are not ready; may be empty.
    """
    if name in blocks(ash):
        # `with_topology` decides whether it is reachable.
        return Component(name, ready=True, reason=Reason.EXTERNAL)
    kind = "StatefulSet" if name in STATEFUL else "Deployment"
    body = live.get((kind, child(ash, name)))
    if body is None:
        return Component(name, ready=False, reason=Reason.MISSING, message="being created")
    status = body.get("status", {})
    replicas = body["spec"].get("replicas", 1)
    ready = min(status.get("readyReplicas", 0), replicas)
    image = body["spec"]["template"]["spec"]["containers"][0]["image"]
    found = Component(
        name,
        ready=False,
        reason=Reason.STARTING,
        replicas=replicas,
        ready_replicas=ready,
        image=image,
    )
    # Beta since Kubernetes 1.35; absent from older ones (KEP-3973).
    stopping = status.get("terminatingReplicas", 0)
    if not replicas and stopping:
        return replace(found, reason=Reason.STOPPING, message=f"{stopping} still terminating")
    # Pods above the autoscaler's minimum come and go; only the minimum counts for readiness.
    scaler = live.get(("HorizontalPodAutoscaler", child(ash, name)), {"spec": {}})["spec"]
    enough = min(replicas, scaler.get("minReplicas", replicas))
    if _rolled_out(kind, body, enough) and ready >= enough:
        return replace(
            found, ready=True, reason=Reason.AVAILABLE if replicas else Reason.SCALED_TO_ZERO
        )
    reason, message = _why(pods)
    if reason == Reason.STARTING:
        reason = Reason.STARTING if ready < replicas else Reason.ROLLING_OUT
        message = message or f"{ready} of {replicas} ready"
    return replace(found, reason=reason, message=message)


def _rolled_out(kind: str, body: Object, enough: int) -> bool:
    status = body.get("status", {})
    # Counts of an older generation do not describe this one.
    current = status.get("observedGeneration", 0) >= body["metadata"]["generation"]
    updated = status.get("updatedReplicas", 0)
    if not current or updated < enough:
        return False
    if kind == "Deployment":
        return bool(status.get("replicas", 0) == updated)
    return bool(status.get("currentRevision") == status.get("updateRevision"))


def _why(pods: Sequence[Object]) -> tuple[str, str]:
    """Return reason and message of the first pod problem that does not resolve itself."""
    for pod in pods:
        if node := _lost_node(pod):
            return Reason.NODE_LOST, _lost(node, pod)
        status = pod.get("status", {})
        states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        for state in states:
            waiting = state.get("state", {}).get("waiting", {})
            reason = waiting.get("reason", Reason.STARTING)
            if reason in _PULLING:
                # The kubelet alternates between both reasons, with different messages. Reporting
                # one text for both avoids a write of the status at every attempt.
                return (
                    Reason.IMAGE_PULL_BACK_OFF,
                    f"{state['name']}: cannot pull {state['image']}",
                )
            if reason == Reason.CRASH_LOOP_BACK_OFF:
                return reason, f"{state['name']} ends soon after each start; see its log"
            if reason not in _STARTING:
                return reason, f"{state['name']}: {waiting.get('message') or reason}"
        for condition in status.get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return condition.get("reason", Reason.UNSCHEDULABLE), condition.get("message", "")
    return Reason.STARTING, ""


def _lost_node(pod: Object) -> str:
    """Return the node of a pod if it does not respond; empty if it does.

    The control plane then sets the condition Ready to False. A kubelet, which also reports whether
    the containers are ready, never reports one without the other. Nodes themselves cannot be read
    by an operator of single namespaces.
    """
    conditions = {
        each["type"]: each["status"] for each in pod.get("status", {}).get("conditions", ())
    }
    lost = (conditions.get("Ready"), conditions.get("ContainersReady")) == ("False", "True")
    return str(pod["spec"].get("nodeName", "")) if lost else ""


def _lost(node: str, pod: Object) -> str:
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["spec"].get("volumes", ())
        if "persistentVolumeClaim" in volume
    ]
    attached = f"; the volume {', '.join(claims)} is attached to it" if claims else ""
    return f"node {node} does not respond{attached}"


def with_topology(component: Component, results: Mapping[Backend, BackendResult]) -> Component:
    """Return a backend as not ready while its users and queues are not as declared."""
    result = results.get(Backend(component.name)) if component.name in {*Backend} else None
    if component.reason == Reason.EXTERNAL and result is None:
        return component.blocked(Reason.NOT_CHECKED, "not checked yet")
    if not component.ready or result is None or result.ready:
        return component
    return component.blocked(result.reason, result.message)


def key_ring_lost(ash: AshChat, versions: Sequence[str]) -> str:
    """Return what to do about lost keys for secrets at rest; empty if none is lost."""
    if not versions:
        return ""
    name, copy = child(ash, "auth-key-ring"), child(ash, "auth-key-ring-copy")
    return (
        f"the key ring for second factors lacks the key of version {', '.join(versions)}, which "
        f"data was sealed with: restore Secret {name} or {copy} from a backup. No new key is "
        "created in its place. To give up every second factor sealed with it, remove "
        "/status/keyRing"
    )


def with_lost_key_ring(component: Component, message: str) -> Component:
    """Return auth as not ready while keys for secrets at rest are lost."""
    if component.name != "auth":
        return component
    return component.blocked(Reason.KEY_RING_LOST, message)


def without_credentials(component: Component, decision: Decision) -> Component:
    """Return the component whose user-provided credentials all fail as not ready."""
    if component.name != decision.candidate.service.value:
        return component
    return component.blocked(decision.reason, decision.message)
