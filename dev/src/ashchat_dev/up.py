"""From a bare machine to a Ready AshChat: cluster, images, operator, examples, wait.

Every phase finds what is there and does only what is missing, so an interrupted run goes
on where it was and a second one changes nothing.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ashchat_dev.images import PLATFORM, ROOT, NodeImages
from ashchat_node.errors import NodeError
from ashchat_node.node import Node
from ashchat_node.paths import default_paths
from ashchat_node.progress import Progress

CHART: Final = ROOT / "charts" / "ashchat-operator"
OPERATOR_NAMESPACE: Final = "ashchat-system"
NAMESPACE, NAME = "ashchat", "demo"
URL: Final = "http://127.0.0.1:30080"
MAILBOX_URL: Final = "http://127.0.0.1:30025"
READY_WITHIN_SECONDS: Final = 300


@dataclass(slots=True)
class Phases:
    """How long each phase took, for the table at the end."""

    seconds: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        begun = time.monotonic()
        yield
        self.seconds.append((name, time.monotonic() - begun))


@dataclass(frozen=True, slots=True)
class Tools:
    """The programs of a cluster, always with its own kubeconfig."""

    kubeconfig: Path
    kubectl: Path
    helm: Path

    def run(self, program: Path, *arguments: str, stdin: str | None = None, step: str) -> str:
        """Run a program; return what it printed.

        Raises:
            NodeError: it failed; with its last words.
        """
        done = subprocess.run(
            [str(program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": str(Path.home()), "PATH": "/usr/bin"},
        )
        if done.returncode:
            raise NodeError(
                step=step,
                message=f"{program.name} {arguments[0]} failed",
                log_tail=(done.stderr or done.stdout)[-2000:],
                what_to_do="Mend what it says, then run make up again: it goes on from here.",
            )
        return done.stdout

    def apply(self, objects: Sequence[dict[str, Any]], *, step: str) -> None:
        """Apply objects server-side under a field manager of our own."""
        self.run(
            self.kubectl,
            "apply", "--server-side", "--force-conflicts", "--field-manager=ashchat-dev", "-f", "-",
            stdin=yaml.safe_dump_all(objects),
            step=step,
        )  # fmt: skip


def node_up(progress: Progress, phases: Phases) -> Tools:
    """Bring up a whole AshChat on the node from packages; return its tools."""
    paths = default_paths()
    node = Node(paths)
    with phases.phase("cluster"):
        node.up(progress)
    with phases.phase("images"):
        references = NodeImages(node, paths.cache).build(PLATFORM, progress)
    with phases.phase("helm"):
        helm = node.tools.build("helm", progress)["helm"]
        kubectl = node.tools.build("kubernetes", progress)["kubectl"]
        tools = Tools(paths.kubeconfig, kubectl, helm)
    install(tools, references, progress, phases)
    if node.tools.caches_exist():
        node.tidy(progress)
    write_env(tools)
    return tools


def install(tools: Tools, references: dict[str, str], progress: Progress, phases: Phases) -> None:
    """Install the operator, apply the examples, wait until the resource is Ready."""
    with phases.phase("operator"), progress.step("operator (helm)"):
        values = yaml.safe_dump(operator_values(references))
        tools.run(
            tools.helm,
            "upgrade", "--install", "ashchat-operator", str(CHART),
            "--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--values", "-",
            stdin=values,
            step="operator (helm)",
        )  # fmt: skip
    with phases.phase("examples"), progress.step("examples"):
        tools.apply(examples(references), step="examples")
    with phases.phase("Ready"):
        wait_ready(tools, progress)


def operator_values(references: dict[str, str]) -> dict[str, Any]:
    """Return the chart's values: which image is which."""
    backends = {"mailpit", "operator"}
    return {
        "image": references["operator"],
        "images": {name: ref for name, ref in references.items() if name not in backends},
    }


def examples(references: dict[str, str]) -> list[dict[str, Any]]:
    """Return the objects of examples/, with the image of Mailpit that was built here."""
    objects: list[dict[str, Any]] = []
    for name in ("mailpit.yaml", "ashchat.yaml"):
        objects += yaml.safe_load_all((ROOT / "examples" / name).read_text())
    for item in objects:
        if item["kind"] == "Deployment" and "mailpit" in references:
            item["spec"]["template"]["spec"]["containers"][0]["image"] = references["mailpit"]
    return objects


def wait_ready(tools: Tools, progress: Progress) -> None:
    """Wait until the AshChat is Ready, telling per component what it waits for.

    Raises:
        NodeError: not within five minutes; with what each component says.
    """
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    with progress.step("AshChat Ready") as step:
        while True:
            resource = json.loads(
                tools.run(
                    tools.kubectl,
                    "get", "ashchat", NAME, "--namespace", NAMESPACE, "--output", "json",
                    step="AshChat Ready",
                )
            )  # fmt: skip
            ready, waiting = readiness(resource)
            if ready:
                return
            step.detail(waiting)
            if time.monotonic() > deadline:
                raise NodeError(
                    step="AshChat Ready",
                    message=f"not Ready after {READY_WITHIN_SECONDS} s",
                    log_tail=waiting,
                    what_to_do=f"kubectl describe ashchat {NAME} --namespace {NAMESPACE}",
                )
            time.sleep(0.5)


def readiness(resource: dict[str, Any]) -> tuple[bool, str]:
    """Return whether a resource is Ready for its present generation, and what it waits for."""
    status = resource.get("status", {})
    for condition in status.get("conditions", []):
        current = condition.get("observedGeneration") == resource["metadata"]["generation"]
        if condition["type"] == "Ready" and condition["status"] == "True" and current:
            return True, ""
    waiting = [
        f"{component['name']}: {component.get('message') or component.get('reason', 'waiting')}"
        for component in status.get("components", [])
        if not component.get("ready")
    ]
    return False, "; ".join(waiting) or "the operator has not seen it yet"


def write_env(tools: Tools) -> None:
    """Write .ashchat/env, which the demo and the suite read."""
    file = ROOT / ".ashchat" / "env"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f"ASHCHAT_URL={URL}\n"
        f"MAILBOX_URL={MAILBOX_URL}\n"
        f"KUBECONFIG={tools.kubeconfig}\n"
        f"KUBECTL={tools.kubectl}\n"
        f"AUDIT_LOG_DIR={default_paths().audit_log.parent}\n"
    )
