"""The operator by Helm, the examples, and the wait until AshChat is Ready."""

import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import httpx2
import yaml

from ashchat_dev import suite_namespaces
from ashchat_dev.images import ROOT, content_tag
from ashchat_dev.target import Engine, Programs, Target
from ashchat_node.errors import NodeError
from ashchat_node.progress import Progress, Step

CHART: Final = ROOT / "charts" / "ashchat-operator"
DEFINITION: Final = ROOT / "crds" / "ashchat.dev_ashchats.yaml"
EXAMPLES: Final = ("mailpit.yaml", "ashchat.yaml")
RELEASE: Final = "ashchat-operator"
OPERATOR_NAMESPACE: Final = "ashchat-system"
NAMESPACE, NAME = "ashchat", "demo"
READY_WITHIN_SECONDS: Final = 300
ANSWERS_WITHIN_SECONDS: Final = 60
ASKED: Final = ("/", "/auth/.well-known/jwks.json", "/chat/api/user")
"""One path of each service behind the edge; without a token 401 is an answer."""

POLL_SECONDS: Final = 0.5
NOT_IN_TABLE: Final = frozenset({"operator", "mailpit"})
"""Images that the operator's table does not name."""

Object = dict[str, Any]


def operator_values(references: Mapping[str, str]) -> Object:
    """Return the chart's values: which image is which; the rest is the chart's default."""
    table = {name: each for name, each in references.items() if name not in NOT_IN_TABLE}
    return {
        "image": references["operator"],
        "images": table,
        "excludeNamespaces": list(suite_namespaces.excluded()),
    }


def operator(programs: Programs, references: Mapping[str, str], progress: Progress) -> bool:
    """Install or upgrade the operator, unless chart and values are unchanged.

    The release's description contains a hash of both, so it can be read from the cluster.

    Returns:
        Whether something was done.

    Raises:
        NodeError: Helm or the API server refused.
    """
    values = yaml.safe_dump(operator_values(references))
    wanted = content_tag([values], [CHART])
    state, description = release(programs)
    if state == "deployed" and description == wanted:
        definition(programs)
        return False
    with progress.step("operator (helm)"):
        unlock(programs, state)
        programs.run(
            programs.helm, "upgrade", "--install", RELEASE, str(CHART),
            f"--namespace={OPERATOR_NAMESPACE}", "--create-namespace", "--force-conflicts",
            f"--description={wanted}", "--values=-",
            step="operator (helm)", stdin=values,
        )  # fmt: skip
    return True


def definition(programs: Programs) -> None:
    """Restore the AshChat's definition if it was changed.

    With an older one the operator waits, and a release that Helm has is not installed again.
    """
    programs.run(
        programs.kubectl, "apply", "--server-side", "--force-conflicts", "--field-manager=helm",
        f"--filename={DEFINITION}",
        step="operator (helm)",
    )  # fmt: skip


def release(programs: Programs) -> tuple[str, str]:
    """Return the state and the description of the operator's release; empty if there is none."""
    try:
        text = programs.run(
            programs.helm, "status", RELEASE, f"--namespace={OPERATOR_NAMESPACE}", "--output=json",
            step="operator (helm)",
        )  # fmt: skip
    except NodeError as error:
        if "not found" in error.log_tail:
            return "", ""
        raise
    info = json.loads(text)["info"]
    return info["status"], info.get("description", "")


def unlock(programs: Programs, state: str) -> None:
    """Undo what an interrupted Helm left, because Helm refuses to continue by itself."""
    where = f"--namespace={OPERATOR_NAMESPACE}"
    if state == "pending-install":
        programs.run(programs.helm, "uninstall", RELEASE, where, step="operator (helm)")
    elif state.startswith("pending-"):
        programs.run(programs.helm, "rollback", RELEASE, where, step="operator (helm)")


def objects(
    references: Mapping[str, str], engine: Engine, url: str, nodes: int = 1
) -> list[Object]:
    """Return the objects of examples/, fitted to a cluster.

    Args:
        references: The images; `mailpit` is replaced where it was built here.
        engine: The database engine that there are images for.
        url: What people's browsers open.
        nodes: The number of nodes; with several, auth, chat and edge have a pod for each.
    """
    found: list[Object] = []
    for name in EXAMPLES:
        found += yaml.safe_load_all((ROOT / "examples" / name).read_text(encoding="utf-8"))
    for item in found:
        if item["kind"] == "Deployment" and "mailpit" in references:
            item["spec"]["template"]["spec"]["containers"][0]["image"] = references["mailpit"]
        if item["kind"] == "AshChat":
            item["spec"]["publicUrl"] = url
            item["spec"]["mongodb"] = {"managed": {"engine": engine}}
            if nodes > 1:
                spread(item["spec"], nodes)
    return found


def spread(spec: Object, nodes: int) -> None:
    """Let an AshChat have a pod of auth, chat and edge for each node."""
    spec["auth"]["replicas"] = nodes
    spec["chat"]["replicas"] = nodes
    spec["exposure"]["edge"]["replicas"] = nodes


def examples(programs: Programs, target: Target, url: str, progress: Progress) -> None:
    """Apply examples/: a mailbox, and an AshChat that uses it, as they fit a target.

    Raises:
        NodeError: The API server refused one; with its reason.
    """
    with progress.step("examples"):
        found = objects(target.references(), target.engine, url, target.nodes)
        programs.apply(found, step="examples")


def wait(programs: Programs, references: Mapping[str, str], progress: Progress) -> bool:
    """Wait until operator, mailbox and AshChat are as applied; report what is awaited.

    Returns:
        Whether there was anything to wait for.

    Raises:
        NodeError: Not within five minutes; with what each component says.
    """
    ready, _ = readiness(resource(programs), references)
    if ready and rolled_out(programs):
        return False
    with progress.step("AshChat Ready") as step:
        for namespace, name in ((OPERATOR_NAMESPACE, RELEASE), ("mailpit", "mailpit")):
            _rollout(programs, namespace, name, step)
        _until_ready(programs, references, step)
    return True


def _until_ready(programs: Programs, references: Mapping[str, str], step: Step) -> None:
    def waiting() -> str:
        _, what = readiness(resource(programs), references)
        return what

    def too_late(what: str) -> NodeError:
        return NodeError(
            "AshChat Ready",
            f"not Ready after {READY_WITHIN_SECONDS} s",
            what.replace("; ", "\n") + "\n" + _logs(programs),
            f"kubectl --kubeconfig={programs.kubeconfig} describe ashchat -n {NAMESPACE}",
        )

    _until_nothing(waiting, step, READY_WITHIN_SECONDS, too_late)


def _until_nothing(
    waiting: Callable[[], str],
    step: Step,
    within_seconds: float,
    too_late: Callable[[str], NodeError],
) -> None:
    """Ask what is waited for, and tell it, until it is nothing; then, or when late, end."""
    deadline = time.monotonic() + within_seconds
    while what := waiting():
        step.detail(f"waits for {what}")
        if time.monotonic() > deadline:
            raise too_late(what)
        time.sleep(POLL_SECONDS)


def answers(programs: Programs, url: str, progress: Progress) -> None:
    """Wait until every service answers at the public address.

    Where a node was just started, Ready comes a moment before its Services lead everywhere.

    Raises:
        NodeError: One does not within a minute; with what it says instead.
    """

    def too_late(what: str) -> NodeError:
        return NodeError(
            "the first answers",
            f"none at {url} after {ANSWERS_WITHIN_SECONDS} s",
            what,
            f"kubectl --kubeconfig={programs.kubeconfig} logs deploy/{NAME}-edge -n {NAMESPACE}",
        )

    with httpx2.Client(base_url=url, timeout=10, trust_env=False) as client:
        waiting = partial(_silent, client)
        if waiting():
            with progress.step("the first answers") as step:
                _until_nothing(waiting, step, ANSWERS_WITHIN_SECONDS, too_late)


def _silent(client: httpx2.Client) -> str:
    """Return what does not answer, and why; empty if everything does."""
    for path in ASKED:
        try:
            status = client.get(path).status_code
        except httpx2.TransportError as error:
            return f"{path}: {error or type(error).__name__}"
        if status >= httpx2.codes.INTERNAL_SERVER_ERROR:
            return f"{path}: HTTP {status}"
    return ""


def resource(programs: Programs) -> Object:
    """Return the AshChat of the examples."""
    text = programs.run(
        programs.kubectl, "get", "ashchat", NAME, f"--namespace={NAMESPACE}", "--output=json",
        step="AshChat Ready",
    )  # fmt: skip
    found: Object = json.loads(text)
    return found


def readiness(resource: Object, references: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether an AshChat is Ready as it was applied, and what it waits for.

    Ready of an older generation does not count, nor of pods that still run another image:
    a new operator has not looked yet.
    """
    status = resource.get("status", {})
    components = status.get("components", [])
    waiting = [
        f"{each['name']}: {each.get('message') or each.get('reason') or 'waiting'}"
        for each in components
        if not each.get("ready")
    ]
    waiting += [
        f"{each['name']}: its new image"
        for each in components
        if each.get("ready")
        and (image := each.get("image"))
        and references.get(each["name"], image) != image
    ]
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    top = conditions.get("Ready", {})
    current = top.get("observedGeneration") == resource["metadata"]["generation"]
    if current and top.get("status") == "True" and not waiting:
        return True, ""
    if not waiting and current:
        waiting = [top.get("message") or top.get("reason") or "Ready"]
    return False, "; ".join(waiting) or "the operator, which has not seen it yet"


def rolled_out(programs: Programs) -> bool:
    """Return whether the operator and the mailbox run as applied."""
    return all(
        _rollout_done(
            json.loads(
                programs.run(
                    programs.kubectl, "get", "deployment", name, f"--namespace={namespace}",
                    "--output=json", step="AshChat Ready",
                )
            )
        )
        for namespace, name in ((OPERATOR_NAMESPACE, RELEASE), ("mailpit", "mailpit"))
    )  # fmt: skip


def _rollout_done(deployment: Object) -> bool:
    status, replicas = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    counts = [status.get(f"{which}eplicas", 0) for which in ("r", "updatedR", "readyR")]
    current = status.get("observedGeneration") == deployment["metadata"]["generation"]
    return bool(current) and counts == [replicas] * len(counts)


def _rollout(programs: Programs, namespace: str, name: str, step: Step) -> None:
    step.detail(f"waits for {name}")
    try:
        programs.run(
            programs.kubectl, "rollout", "status", f"deployment/{name}",
            f"--namespace={namespace}", f"--timeout={READY_WITHIN_SECONDS}s",
            step=name, seconds=READY_WITHIN_SECONDS + 10,
        )  # fmt: skip
    except NodeError as error:
        raise NodeError(
            name,
            error.message,
            f"{error.log_tail}\n{_logs(programs)}",
            f"kubectl --kubeconfig={programs.kubeconfig} describe pods -n {namespace}",
        ) from error


def _logs(programs: Programs) -> str:
    """Return the operator's last log lines, or why there are none."""
    try:
        return programs.run(
            programs.kubectl, "logs", f"deployment/{RELEASE}", "--tail=15",
            f"--namespace={OPERATOR_NAMESPACE}", step="logs",
        )  # fmt: skip
    except NodeError as error:
        return error.log_tail
