"""The container runtime: containerd with dedicated folders, and its images."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ashchat_node import mounts, network
from ashchat_node.commands import capture, run_logged, succeeds
from ashchat_node.errors import NodeError, tail
from ashchat_node.machine import Machine
from ashchat_node.packages import file_of
from ashchat_node.paths import Paths
from ashchat_node.processes import Daemon, with_executable
from ashchat_node.progress import Step

_NAMESPACE: Final = "k8s.io"  # where the kubelet's images and containers are
_READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
RUNC: Final = "/usr/sbin/runc"


def render_config(machine: Machine, paths: Paths, shim: Path, pause_image: str) -> str:
    """Return containerd's configuration (version 3 of its format).

    Args:
        machine: The machine to adapt to.
        paths: The node's folders.
        shim: The program between containerd and runc.
        pause_image: The image that holds a pod's namespaces.
    """

    def text(value: str | Path) -> str:
        return json.dumps(str(value))  # a TOML basic string

    def flag(value: bool) -> str:  # noqa: FBT001 - a value to print, no switch
        return "true" if value else "false"

    cri = "plugins.'io.containerd.cri.v1"
    return "\n".join(
        [
            "version = 3",
            f"root = {text(paths.cache / 'containerd')}",
            f"state = {text(paths.run / 'containerd')}",
            "imports = []",
            # Neither is used, and each would create folders outside of the node's.
            "disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt']",
            "[grpc]",
            f"  address = {text(paths.containerd_socket)}",
            f"[{cri}.images']",
            "  snapshotter = 'overlayfs'",
            f"[{cri}.images'.pinned_images]",
            f"  sandbox = {text(pause_image)}",
            f"[{cri}.runtime']",
            # Without CAP_SYS_RESOURCE the kernel rejects a lower score.
            f"  restrict_oom_score_adj = {flag(not machine.sys_resource)}",
            f"  disable_apparmor = {flag(not machine.apparmor)}",
            # So that network namespaces of pods are deleted with the state folder.
            "  netns_mounts_under_state_dir = true",
            # Every container's usage is read each second by default (containerd 2.3), a seventh
            # of a core with 70 of them; nobody asks for it, because the kubelet reads cgroups.
            "  stats_collect_period = '1h'",
            "  stats_retention_period = '2h'",
            f"[{cri}.runtime'.cni]",
            f"  bin_dirs = [{text(network.CNI_PLUGINS)}]",
            f"  conf_dir = {text(paths.state / 'cni')}",
            f"[{cri}.runtime'.containerd.runtimes.runc]",
            "  runtime_type = 'io.containerd.runc.v2'",
            f"  runtime_path = {text(shim)}",
            f"[{cri}.runtime'.containerd.runtimes.runc.options]",
            f"  SystemdCgroup = {flag(machine.systemd)}",
            f"  BinaryName = {text(RUNC)}",
            "",
        ]
    )


def parse_running(tasks: str) -> frozenset[str]:
    """Return the ids of the running tasks from the output of `ctr tasks list`."""
    rows = [line.split() for line in tasks.splitlines()[1:]]
    return frozenset(row[0] for row in rows if row[-1:] == ["RUNNING"])


class Containerd:
    """The node's containerd."""

    def __init__(self, paths: Paths, programs: Mapping[str, Path]) -> None:
        """Use the built programs containerd, containerd-shim-runc-v2 and ctr."""
        self._paths = paths
        self._programs = programs
        self._config = paths.state / "containerd.toml"
        self.daemon = Daemon(
            name="containerd",
            arguments=[str(programs["containerd"]), "--config", str(self._config)],
        )

    def start(self, machine: Machine, pause_image: str) -> None:
        """Write the configuration and start containerd, unless it is running.

        Raises:
            NodeError: containerd does not respond.
        """
        file_of(RUNC)
        shim = self._programs["containerd-shim-runc-v2"]
        self._config.parent.mkdir(parents=True, exist_ok=True)
        self._config.write_text(render_config(machine, self._paths, shim, pause_image))
        cni = self._paths.state / "cni" / "10-pods.conflist"
        cni.parent.mkdir(parents=True, exist_ok=True)
        cni.write_text(network.cni_config(self._paths.state))
        self.restart()

    def restart(self) -> None:
        """Start containerd with its existing configuration.

        Raises:
            NodeError: containerd does not respond.
        """
        self._paths.run.mkdir(parents=True, exist_ok=True)
        self.daemon.start(self._paths)
        deadline = time.monotonic() + _READY_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise NodeError(
                    "start containerd",
                    "it does not answer",
                    tail(self._paths.log / "containerd.log"),
                )
            time.sleep(_POLL_SECONDS)

    def answers(self) -> bool:
        """Return whether containerd responds."""
        return self._paths.containerd_socket.exists() and succeeds(
            [*self._ctr, "version"], timeout_seconds=5
        )

    def images(self) -> frozenset[str]:
        """Return the names of the images that pods can use.

        Raises:
            NodeError: containerd does not answer.
        """
        return frozenset(capture("images", [*self._ctr, "images", "list", "--quiet"]).split())

    def import_archive(self, archive: Path, name: str, step: Step | None = None) -> None:
        """Import the images of a docker-archive, replacing those of the same names.

        Raises:
            NodeError: containerd rejects the archive.
        """
        run_logged(
            f"import {name}",
            [*self._ctr, "images", "import", "--local", archive],
            log=self._paths.log / "images" / f"{name}-import.log",
            step=step,
        )

    def running_containers(self) -> frozenset[str]:
        """Return the ids of the containers with a running process.

        Raises:
            NodeError: containerd does not answer.
        """
        return parse_running(capture("containers", [*self._ctr, "tasks", "list"]))

    def remove_containers(self) -> None:
        """Remove the tasks and containers that `kubeadm reset` left."""
        listed = capture("containers", [*self._ctr, "containers", "list", "--quiet"]).split()
        for container in listed:
            succeeds([*self._ctr, "tasks", "delete", "--force", container])
            succeeds([*self._ctr, "containers", "delete", container])

    def stop(self) -> None:
        """Stop containerd and its remaining shims, and unmount what they mounted."""
        self.daemon.stop(self._paths)
        for shim in with_executable(self._programs["containerd-shim-runc-v2"]):
            shim.end(seconds=2)
        for folder in (self._paths.run, self._paths.cache / "containerd"):
            mounts.release_below(folder)

    @property
    def _ctr(self) -> list[str | Path]:
        return [
            self._programs["ctr"],
            f"--address={self._paths.containerd_socket}",
            f"--namespace={_NAMESPACE}",
        ]
