"""From a bare machine to a Ready AshChat: cluster, images, operator, examples, wait.

Every phase does only what is missing, so an interrupted run continues and a second one
changes nothing.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from ashchat_dev import cluster, docker, graph, install
from ashchat_dev.environment import read_env_file
from ashchat_dev.graph import Task
from ashchat_dev.images import Sources
from ashchat_dev.kind.way import registry_answers
from ashchat_dev.on_current import OnCurrent
from ashchat_dev.on_kind import OnKind
from ashchat_dev.on_node import OnNode
from ashchat_dev.packaged_images import SLOTS
from ashchat_dev.progress import Phases
from ashchat_dev.registry_images import DockerImages, PushedPackages, RegistryImages
from ashchat_dev.target import ENV_FILE, Programs, Target
from ashchat_node.errors import NodeError
from ashchat_node.machine import debian_and_root
from ashchat_node.paths import default_paths
from ashchat_node.progress import Progress


@dataclass(frozen=True, slots=True)
class Running:
    """A Ready AshChat.

    Attributes:
        url: Where people open it.
        mailbox_url: Where its mails are read.
        programs: The programs to inspect its cluster with.
        changed: Whether anything was changed for it.
    """

    url: str
    mailbox_url: str
    programs: Programs
    changed: bool


def target_of(
    kind: cluster.Kind, sources: Sources, environ: Mapping[str, str] = os.environ
) -> Target:
    """Return the cluster that was chosen.

    Raises:
        NodeError: It requires a setting of the user's.
    """
    match kind:
        case "node":
            return OnNode(sources)
        case "kind":
            return OnKind(sources, environ)
        case "current":
            if not environ.get("IMAGE_REGISTRY"):
                raise NodeError(
                    "CLUSTER=current",
                    "IMAGE_REGISTRY is not set",
                    what_to_do="Say which registry the images go by: IMAGE_REGISTRY=host/path.",
                )
            return OnCurrent(_registry_images(sources, environ["IMAGE_REGISTRY"].rstrip("/")))
        case _:
            assert_never(kind)


def _registry_images(sources: Sources, registry: str) -> RegistryImages:
    if debian_and_root() and not registry_answers():  # then there are no official images either
        return PushedPackages(sources, registry, default_paths())
    docker.require()
    return DockerImages(sources, registry)


def up(
    target: Target,
    kind: cluster.Kind,
    progress: Progress,
    phases: Phases,
    also: Iterable[Task] = (),
) -> Running:
    """Bring up a whole AshChat.

    Args:
        target: The cluster.
        kind: Its kind.
        progress: Receives the steps.
        phases: Receives their durations.
        also: Further tasks, which run at the same time as those of the cluster.

    Raises:
        NodeError: A step failed; it names the step, its log and what to do.
    """
    references = target.references()
    before = _written()
    phases.add(graph.run([*target.tasks(progress), *also], SLOTS))
    programs = target.programs(progress)
    url, mailbox_url = target.urls(programs)
    with phases.phase("operator"):
        installed = install.operator(programs, references, progress)
    with phases.phase("examples"):
        install.examples(programs, target, url, progress)
    with phases.phase("Ready"):
        waited = install.wait(programs, references, progress)
        install.answers(programs, url, progress)
    write_env(
        {
            "CLUSTER": kind,
            "ASHCHAT_URL": url,
            "MAILBOX_URL": mailbox_url,
            "KUBECONFIG": str(programs.kubeconfig),
            "KUBECTL": str(programs.kubectl),
            "HELM": str(programs.helm),
            **target.environment(),
        }
    )
    return Running(url, mailbox_url, programs, installed or waited or before != _written())


def write_env(pairs: Mapping[str, str]) -> None:
    """Write .ashchat/env, which the demo and the suite read, unless it is unchanged."""
    text = "".join(f"{key}={value}\n" for key, value in pairs.items())
    if _written() != text:
        ENV_FILE.parent.mkdir(exist_ok=True)
        ENV_FILE.write_text(text, encoding="utf-8")


def environment() -> dict[str, str]:
    """Return this process's environment, overridden by .ashchat/env.

    The user's KUBECONFIG must not lead the demo or the suite to another cluster.
    """
    said = read_env_file(ENV_FILE) if ENV_FILE.exists() else {}
    return {**os.environ, **said}


@contextmanager
def env_kept() -> Iterator[None]:
    """Restore .ashchat/env at the end."""
    former = _written()
    try:
        yield
    finally:
        if former:
            ENV_FILE.write_text(former, encoding="utf-8")
        else:
            ENV_FILE.unlink(missing_ok=True)


def used() -> str | None:
    """Return the cluster that the last `up` of this clone used."""
    return read_env_file(ENV_FILE).get("CLUSTER") if ENV_FILE.exists() else None


def _written() -> str:
    return ENV_FILE.read_text(encoding="utf-8") if ENV_FILE.exists() else ""
