"""The kind cluster: its nodes are Docker containers with labels.

Everything that is asked about it is read from Docker, so nothing that is recorded can be wrong.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from ashchat_dev.images import ROOT
from ashchat_dev.kind.settings import NAME, STEP
from ashchat_node.commands import capture, run_logged, succeeds
from ashchat_node.progress import Step

_COMPLETE: Final = "/kind/ashchat-complete"
"""Exists in the control plane's container once the cluster was created without interruption."""

EXEC_SECONDS: Final = 60.0

ARCHIVES: Final = "/var/ashchat-archives"
"""Where the nodes see the folder of exported images, if images are from packages."""

_DELETE_SECONDS: Final = 300.0


class KindCluster:
    """A dedicated kind cluster with a unique name.

    Attributes:
        name: Its name.
        control_plane: The name of the first node.
        volumes_node: The node of all volumes, if there are several: every other one can be lost.
    """

    def __init__(self, name: str = NAME) -> None:
        self.name = name
        self.control_plane = f"{name}-control-plane"
        self.volumes_node = f"{name}-worker"
        self._label = f"label=io.x-k8s.kind.cluster={name}"

    def nodes(self) -> list[str]:
        """Return the names of the nodes, which are those of their containers.

        Raises:
            NodeError: Docker does not answer.
        """
        return sorted(self._containers())

    def exists(self) -> bool:
        """Return whether the cluster was created completely."""
        return self.control_plane in self._containers() and succeeds(
            ["docker", "exec", self.control_plane, "test", "-e", _COMPLETE]
        )

    def running(self) -> bool:
        """Return whether the cluster was created completely and all of its nodes run."""
        listed = capture(
            STEP, ["docker", "ps", "--quiet", f"--filter={self._label}", "--filter=status=running"]
        )
        return len(listed.split()) == len(self._containers()) and self.exists()

    def node_image(self) -> str | None:
        """Return the node image of the cluster; None if there is no cluster."""
        return self._containers().get(self.control_plane)

    def create(self, kind: Path, config: Path, kubeconfig: Path, log: Path, step: Step) -> None:
        """Create the containers and the control plane; nodes need not become Ready.

        Raises:
            NodeError: A port is in use, or the control plane did not start.
        """
        run_logged(
            STEP,
            [kind, "create", "cluster", f"--name={self.name}", f"--config={config}",
             f"--kubeconfig={kubeconfig}", "--wait=0s"],
            log=log,
            step=step,
            cwd=ROOT,
            what_to_do="If a port is in use, set KIND_PORT_OFFSET=1000. Then run it again.",
        )  # fmt: skip

    def kubeconfig(self, kind: Path) -> str:
        """Return the administrator's kubeconfig, for use on this machine.

        Raises:
            NodeError: There is no cluster.
        """
        return capture(STEP, [kind, "get", "kubeconfig", f"--name={self.name}"])

    def completed(self) -> None:
        """Record that the cluster was created without interruption."""
        self.execute(self.control_plane, "touch", _COMPLETE)

    def resume(self) -> bool:
        """Start the containers that are stopped or paused; return whether there were any."""
        resumed = False
        for state, command in (("paused", "unpause"), ("exited", "start")):
            listed = capture(
                STEP,
                ["docker", "ps", "--quiet", f"--filter={self._label}", f"--filter=status={state}"],
            )
            for container in listed.split():
                capture(STEP, ["docker", command, container])
                resumed = True
        return resumed

    def delete(self, kind: Path, kubeconfig: Path) -> None:
        """Delete the cluster if there is one, complete or not.

        Raises:
            NodeError: Docker does not remove a container.
        """
        if self._containers():
            capture(
                STEP,
                [kind, "delete", "cluster", f"--name={self.name}", f"--kubeconfig={kubeconfig}"],
                timeout_seconds=_DELETE_SECONDS,
            )

    def execute(
        self, node: str, *arguments: str, stdin: str = "", seconds: float = EXEC_SECONDS
    ) -> str:
        """Run a program on a node and return its output.

        Raises:
            NodeError: It failed.
        """
        return capture(
            f"{node}: {arguments[0]}",
            ["docker", "exec", "--interactive", node, *arguments],
            stdin=stdin,
            timeout_seconds=seconds,
        )

    def images(self) -> frozenset[str]:
        """Return the names of the images that all nodes have; none if there is no cluster."""
        listed = [
            frozenset(
                self.execute(node, "ctr", "--namespace=k8s.io", "images", "list", "--quiet").split()
            )
            for node in self.nodes()
        ]
        return frozenset.intersection(*listed) if listed else frozenset()

    def load(self, kind: Path, images: Sequence[str], log: Path, step: Step) -> None:
        """Load images of Docker into all nodes.

        Raises:
            NodeError: There is no such image, or a node rejects it.
        """
        run_logged(
            "load",
            [kind, "load", "docker-image", f"--name={self.name}", *images],
            log=log,
            step=step,
        )

    def import_archive(self, archive: Path, log: Path, step: Step) -> None:
        """Import a docker-archive in the folder ARCHIVES into all nodes, concurrently.

        It is not streamed through Docker, and a node unpacks only what it runs, in contrast to
        `kind load image-archive`.

        Raises:
            NodeError: A node rejects it.
        """
        command = ["ctr", "--namespace=k8s.io", "images", "import", "--local", "--no-unpack"]
        file = f"{ARCHIVES}/{archive.name}"

        def run(node: str) -> None:
            arguments = ["docker", "exec", node, *command, file]
            run_logged("load", arguments, log=log.with_suffix(f".{node}.log"), step=step)

        nodes = self.nodes()
        with ThreadPoolExecutor(len(nodes)) as executor:
            list(executor.map(run, nodes))

    def address(self, node_port: int) -> str:
        """Return the address of this machine that leads to a node port.

        Raises:
            NodeError: The cluster does not map it.
        """
        listed = capture(STEP, ["docker", "port", self.control_plane, f"{node_port}/tcp"]).split()
        return listed[0]

    def _containers(self) -> dict[str, str]:
        """Return the image of each node's container."""
        listed = capture(
            STEP,
            ["docker", "ps", "--all", f"--filter={self._label}", "--format={{.Names}} {{.Image}}"],
        )
        return dict(line.split(" ", 1) for line in listed.splitlines())
