"""Rules about pods and volumes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ashchat_cli.objects import Object
from ashchat_cli.rules.facts import Facts, Finding, Severity
from ashchat_core.api.names import Label
from ashchat_core.wording import counted

RESTARTS_MANY: Final = 5

_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName"})


def images(facts: Facts) -> Iterator[Finding]:
    """Report images that cannot be pulled."""
    for pod, state in _states(facts):
        if state.get("state", {}).get("waiting", {}).get("reason") in _PULLING:
            yield Finding(
                "images",
                Severity.ERROR,
                f"{pod}: image {state['image']} cannot be pulled",
                "it is not in the registry, its name is wrong, or the node lacks permission",
                f"kubectl -n {facts.namespace} describe pod {pod}",
            )


def crashes(facts: Facts) -> Iterator[Finding]:
    """Report containers that were killed for memory, or end repeatedly."""
    for pod, state in _states(facts):
        last = state.get("lastState", {}).get("terminated", {})
        restarts = state.get("restartCount", 0)
        waiting = state.get("state", {}).get("waiting", {}).get("reason")
        if last.get("reason") == "OOMKilled" or _ended(state) == "OOMKilled":
            component = _component_of(facts, pod)
            yield Finding(
                "memory",
                Severity.ERROR if waiting == "CrashLoopBackOff" else Severity.WARNING,
                f"{pod}: container {state['name']} was killed for memory"
                f" ({counted(restarts, 'restart')})",
                "it exceeded its memory limit",
                f"raise resources.limits.memory of {component}:"
                f" kubectl -n {facts.namespace} edit ashchat {facts.name}",
            )
        elif waiting == "CrashLoopBackOff":
            yield Finding(
                "crashes",
                Severity.ERROR,
                f"{pod}: container {state['name']} ends soon after each start",
                f"exit code {last.get('exitCode', 'unknown')}, {counted(restarts, 'restart')}",
                f"kubectl -n {facts.namespace} logs {pod} -c {state['name']} --previous",
            )
        elif restarts >= RESTARTS_MANY:
            yield Finding(
                "crashes",
                Severity.WARNING,
                f"{pod}: container {state['name']} was restarted {counted(restarts, 'time')}",
                f"the last time with exit code {last.get('exitCode', 'unknown')}",
                f"kubectl -n {facts.namespace} logs {pod} -c {state['name']} --previous",
            )


def scheduling(facts: Facts) -> Iterator[Finding]:
    """Report pods without a node, and volumes without storage."""
    for pod in facts.pods:
        for condition in pod.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                name = pod["metadata"]["name"]
                yield Finding(
                    "scheduling",
                    Severity.ERROR,
                    f"{name} cannot be scheduled",
                    condition.get("message", condition.get("reason", "")),
                    f"kubectl -n {facts.namespace} describe pod {name}",
                )
    for claim in facts.claims:
        if claim.get("status", {}).get("phase") == "Pending":
            name = claim["metadata"]["name"]
            wanted = claim["spec"].get("storageClassName")
            whose = f"storage class {wanted}" if wanted else "no storage class, and no default one"
            yield Finding(
                "storage",
                Severity.ERROR,
                f"the volume claim {name} is not bound",
                f"it has {whose}; some classes wait for the pod",
                f"kubectl -n {facts.namespace} describe pvc {name}; kubectl get storageclass",
            )


def _states(facts: Facts) -> Iterator[tuple[str, Object]]:
    for pod in facts.pods:
        status = pod.get("status", {})
        for state in (
            *status.get("initContainerStatuses", ()),
            *status.get("containerStatuses", ()),
        ):
            yield pod["metadata"]["name"], state


def _ended(state: Mapping[str, Any]) -> str:
    return str(state.get("state", {}).get("terminated", {}).get("reason", ""))


def _component_of(facts: Facts, pod: str) -> str:
    for each in facts.pods:
        if each["metadata"]["name"] == pod:
            return str(each["metadata"].get("labels", {}).get(Label.COMPONENT, pod))
    return pod
