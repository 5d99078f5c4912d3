"""The state of an AshChat: from what was read to data, and from data to a tree. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from ashchat_cli.objects import Depth, Object, is_ready
from ashchat_core.api.conditions import ConditionType
from ashchat_core.api.names import Annotation, Label
from ashchat_core.api.reasons import Reason
from ashchat_core.topology import QUEUES
from ashchat_core.wording import counted

Depths = Mapping[str, Depth | None]

IDLE: Final = "Idle"
ENDING: Final = "Terminating"

BAD_WHEN_TRUE: Final = frozenset({ConditionType.DEGRADED})
NEITHER: Final = frozenset({ConditionType.PROGRESSING, ConditionType.PAUSED})


def names() -> list[str]:
    """Return the queues that status shows: the durable ones and their dead-letter queues."""
    return [name for spec in QUEUES for name in (spec.name.value, spec.dead)]


def overview(
    resource: Object, pods: Sequence[Object], depths: Depths | None, unread: str = ""
) -> Object:
    """Return the data that status shows of one AshChat.

    Args:
        resource: The AshChat.
        pods: Its pods.
        depths: Its queues; None: they were not read.
        unread: Why not.
    """
    metadata, status = resource["metadata"], resource.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    ready = conditions.get(ConditionType.READY, {})
    current = status.get("observedGeneration", 0) == metadata.get("generation", 0)
    deleted = "deletionTimestamp" in metadata
    reason, message = ready.get("reason", Reason.NOT_OBSERVED.value), ready.get("message", "")
    if not ready:
        message = "no operator has reconciled it yet"
    elif deleted:
        reason, message = "Deleted", "it is being deleted"
    elif not current:
        reason, message = (
            Reason.NOT_OBSERVED.value,
            "the operator has not observed the newest spec yet",
        )
    told: Object = {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "ready": ready.get("status") == "True" and current and not deleted,
        "reason": reason,
        "message": message,
        "url": status.get("url", ""),
        "version": status.get("operatorVersion", ""),
        "paused": metadata.get("annotations", {}).get(Annotation.PAUSE, "").lower() == "true",
        "conditions": [_condition(each) for each in status.get("conditions", [])],
        "components": [_component(each, pods) for each in status.get("components", [])],
    }
    if status.get("rotation"):
        told["rotation"] = [dict(each) for each in status["rotation"]]
    if depths is None:
        told["queuesUnread"] = unread
    else:
        told["queues"] = _queues(depths)
    return told


def _condition(found: Mapping[str, Any]) -> Object:
    return {
        "type": found["type"],
        "status": found["status"],
        "reason": found.get("reason", ""),
        "message": found.get("message", ""),
        "since": found.get("lastTransitionTime", ""),
    }


def _component(entry: Mapping[str, Any], pods: Sequence[Object]) -> Object:
    own = [pod for pod in pods if pod["metadata"]["labels"].get(Label.COMPONENT) == entry["name"]]
    told = [_pod(pod) for pod in sorted(own, key=lambda pod: str(pod["metadata"]["name"]))]
    return {
        "name": entry["name"],
        "ready": entry["ready"],
        "reason": entry["reason"],
        "message": entry.get("message", ""),
        "replicas": entry.get("replicas", 0),
        "readyReplicas": entry.get("readyReplicas", 0),
        "restarts": sum(pod["restarts"] for pod in told),
        "image": entry.get("image", ""),
        "pods": told,
    }


def _pod(pod: Mapping[str, Any]) -> Object:
    status = pod.get("status", {})
    states = status.get("containerStatuses", [])
    waiting = [state["state"]["waiting"] for state in states if "waiting" in state.get("state", {})]
    ending = "deletionTimestamp" in pod["metadata"]
    reason = waiting[0].get("reason", "") if waiting else ""
    return {
        "name": pod["metadata"]["name"],
        "ready": is_ready(pod),
        "state": ENDING if ending else reason or status.get("phase", "Unknown"),
        "restarts": sum(state.get("restartCount", 0) for state in states),
    }


def _queues(depths: Depths) -> list[Object]:
    told = []
    for spec in QUEUES:
        own, dead = depths.get(spec.name.value), depths.get(spec.dead)
        told.append(
            {
                "name": spec.name.value,
                "reader": spec.reader.value,
                "there": own is not None,
                "messages": own.messages if own else 0,
                "consumers": own.consumers if own else 0,
                "dead": dead.messages if dead else 0,
            }
        )
    return told


def tree(told: Mapping[str, Any]) -> Tree:
    """Return the tree of one AshChat, from the data of `overview`."""
    head = _mark(told["ready"])
    head.append(f" {told['namespace']}/{told['name']}", style="bold")
    head.append(f"  {told['reason']}", style="" if told["ready"] else "red")
    if told["url"]:
        head.append(f"  {told['url']}", style="cyan")
    if told["version"]:
        head.append(f"  operator {told['version']}", style="dim")
    root = Tree(head, guide_style="dim")
    if told["paused"]:
        root.add(Text("paused: nothing is reconciled (kubectl ashchat resume)", "yellow"))
    if not told["conditions"]:
        root.add(Text(told["message"], "red"))
    conditions = root.add("conditions")
    for each in told["conditions"]:
        conditions.add(_condition_line(each))
    components = root.add("components")
    for each in told["components"]:
        _component_lines(components, each)
    _queue_lines(root, told)
    if told.get("rotation"):
        rotation = root.add("rotation")
        for each in told["rotation"]:
            rotation.add(rotation_line(each))
    return root


def _mark(ok: bool | None) -> Text:  # noqa: FBT001 (a state, not a switch)
    if ok is None:
        return Text.assemble(("•", "yellow"))
    return Text.assemble(("✓", "green") if ok else ("✗", "red"))


def _condition_line(each: Mapping[str, Any]) -> Text:
    held = each["status"] == "True"
    ok: bool | None = held != (each["type"] in BAD_WHEN_TRUE)
    if each["type"] in NEITHER:
        ok = None if held else True
    if each["status"] == "Unknown":
        ok = None
    line = _mark(ok)
    line.append(f" {each['type']}={each['status']}")
    line.append(f"  {each['reason']}", "dim")
    if ok is not True and each["message"]:
        line.append(f"  {each['message']}")
    return line


def _component_lines(parent: Tree, each: Mapping[str, Any]) -> None:
    line = _mark(each["ready"])
    line.append(f" {each['name']:<10} {each['readyReplicas']}/{each['replicas']}")
    line.append(f"  {each['reason']}", "dim" if each["ready"] else "red")
    if each["restarts"]:
        line.append(f"  {counted(each['restarts'], 'restart')}", "yellow")
    if each["image"]:
        line.append(f"  {each['image'].rpartition('/')[2]}", "dim")
    if not each["ready"] and each["message"]:
        line.append(f"  {each['message']}")
    node = parent.add(line)
    for pod in each["pods"]:
        if not pod["ready"] or pod["restarts"]:
            # A pod that is replaced or scaled away is not a fault.
            told = _mark(None if pod["state"] == ENDING else pod["ready"])
            told.append(f" {pod['name']}  {pod['state']}  {counted(pod['restarts'], 'restart')}")
            node.add(told)


def _queue_lines(root: Tree, told: Mapping[str, Any]) -> None:
    if "queues" not in told:
        if told["queuesUnread"]:
            root.add(Text(f"queues  not read: {told['queuesUnread']}", "dim"))
        return
    queues = told["queues"]
    waiting = sum(each["messages"] for each in queues)
    dead = sum(each["dead"] for each in queues)
    head = Text(f"queues  {counted(waiting, 'message')} waiting, ")
    head.append(counted(dead, "dead letter"), "yellow" if dead else "")
    node = root.add(head)
    for each in queues:
        if not each["there"]:
            node.add(Text(f"✗ {each['name']}  does not exist", "red"))
        elif each["messages"] or each["dead"] or not each["consumers"]:
            bad = not each["consumers"]
            line = _mark(False if bad else None if each["dead"] else True)
            line.append(f" {each['name']}  {each['messages']} waiting")
            line.append(f"  {counted(each['consumers'], 'consumer')}", "red" if bad else "dim")
            if each["dead"]:
                line.append(f"  {each['dead']} dead", "yellow")
            node.add(line)


def rotation_line(each: Mapping[str, Any]) -> Text:
    """Return the line of one kind of credential; unknown fields and phases are accepted."""
    phase = str(each.get("phase", "Unknown"))
    line = _mark(True if phase == IDLE else None)
    line.append(f" {each.get('name', '?')}  {phase}")
    if phase != IDLE and each.get("lastTransitionTime"):
        line.append(f" since {each['lastTransitionTime']}", "dim")
    if each.get("lastRotationTime"):
        line.append(f"  last {each['lastRotationTime']}", "dim")
    if each.get("message"):
        line.append(f"  {each['message']}")
    return line


def render(all_told: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return the trees of several AshChats."""
    return Group(*(tree(told) for told in all_told))
