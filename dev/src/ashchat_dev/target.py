"""The interface of `make up` to any cluster, and the programs that use it."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import yaml

from ashchat_dev.graph import Task
from ashchat_dev.images import ROOT, Image
from ashchat_node.errors import NodeError
from ashchat_node.progress import Progress

FIELD_MANAGER: Final = "ashchat-dev"
SECONDS_TO_ANSWER: Final = 120

EDGE_PORT: Final = 30080
MAILBOX_PORT: Final = 30025
"""Node ports of examples/."""

Engine = Literal["MongoDB", "FerretDB"]


@dataclass(frozen=True, slots=True)
class Programs:
    """kubectl and helm with the kubeconfig of one cluster."""

    kubeconfig: Path
    kubectl: Path
    helm: Path

    def run(
        self,
        program: Path,
        *arguments: str,
        step: str,
        stdin: str | None = None,
        seconds: float = SECONDS_TO_ANSWER,
    ) -> str:
        """Run a program; return what it printed.

        Raises:
            NodeError: It failed or took too long; the message has the end of its output.
        """
        where = f"--kubeconfig={self.kubeconfig}"
        try:
            done = subprocess.run(
                [str(program), where, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NodeError(step, f"{program.name} {arguments[0]}: {error}") from error
        if done.returncode:
            raise NodeError(
                step,
                f"{program.name} {arguments[0]} exited with {done.returncode}",
                (done.stderr or done.stdout).strip()[-4000:],
                "Fix what it says, then run make up again: it continues here.",
            )
        return done.stdout

    def apply(self, objects: Sequence[Mapping[str, Any]], *, step: str) -> None:
        """Apply objects server-side; unchanged ones are not written.

        Raises:
            NodeError: The API server refused one; with its reason.
        """
        self.run(
            self.kubectl, "apply", "--server-side", "--force-conflicts",
            f"--field-manager={FIELD_MANAGER}", "--filename=-",
            step=step, stdin=yaml.safe_dump_all(objects),
        )  # fmt: skip


class Target(Protocol):
    """A cluster to bring AshChat up on."""

    @property
    def engine(self) -> Engine:
        """The database engine that there are images for."""

    @property
    def nodes(self) -> int:
        """The number of nodes that the examples use."""

    def described(self) -> str:
        """Return the kind of cluster, in one line."""

    def references(self) -> dict[str, str]:
        """Return image name → reference of all that is built here, as the repository is now."""

    def tasks(self, progress: Progress) -> list[Task]:
        """Return the tasks until the cluster runs and has every image."""

    def later(self, progress: Progress) -> list[Task]:
        """Return the tasks that only tests need, which run once AshChat is Ready."""

    def programs(self, progress: Progress) -> Programs:
        """Return kubectl and helm; called when the tasks are done."""

    def urls(self, programs: Programs) -> tuple[str, str]:
        """Return the addresses of AshChat and of the mailbox, from this machine."""

    def environment(self) -> dict[str, str]:
        """Return further lines of .ashchat/env."""

    def down(self, progress: Progress) -> None:
        """Remove what `up` made."""

    def clean(self, progress: Progress) -> None:
        """Remove the caches, too."""


def described(images: Sequence[Image]) -> str:
    """Return the number of images to wait for, for display."""
    return f"{len(images)} image{'' if len(images) == 1 else 's'}"


ENV_FILE: Final = ROOT / ".ashchat" / "env"
