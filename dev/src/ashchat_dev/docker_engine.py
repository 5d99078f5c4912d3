"""A Docker engine for a Debian machine that has none: `make docker`, and its end in `make down`.

dockerd runs under the node's supervisor, so that no systemd is needed, and only the engine that was
started here is ever stopped. What dockerd would change for other programs is prevented: it sets
the policy of iptables' FORWARD chain to DROP if it is the one that enables forwarding.
"""

import shutil
import time
from pathlib import Path
from typing import Final

from ashchat_dev import docker, docker_rules, runc_without_sys_resource
from ashchat_node import mounts, network, packages
from ashchat_node.commands import capture, succeeds
from ashchat_node.errors import NodeError, tail
from ashchat_node.machine import CAP_SYS_RESOURCE, debian_and_root, parse_capability
from ashchat_node.paths import Paths, default_paths
from ashchat_node.processes import Daemon
from ashchat_node.progress import Progress

PACKAGES: Final = ("docker.io",)
DOCKERD: Final = "/usr/sbin/dockerd"
RUNTIME: Final = "runc-without-sys-resource"
_READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.2
_STEP: Final = "Docker"


def engine_paths() -> Paths:
    """Return the folders of the engine's supervisor; Docker's own data are in /var/lib/docker."""
    return Paths(
        state=Path("/var/lib/ashchat-docker"),
        run=Path("/run/ashchat-docker"),
        log=Path("/var/log/ashchat-docker"),
        cache=default_paths().cache,
    )


def arguments(runtime: Path | None) -> list[str]:
    """Return the command of dockerd.

    Args:
        runtime: A runtime to use instead of runc.
    """
    command = [DOCKERD, "--log-level=warn"]
    if runtime is not None:
        command += [f"--add-runtime={RUNTIME}={runtime}", f"--default-runtime={RUNTIME}"]
    return command


class DockerEngine:
    """The engine that `make docker` starts."""

    def __init__(self, paths: Paths | None = None) -> None:
        """Use these folders, by default the machine's."""
        self._paths = paths or engine_paths()
        self._runtime = self._paths.state / RUNTIME

    def up(self, progress: Progress) -> bool:
        """Install Docker and start its engine, unless one answers.

        Returns:
            Whether it was started.

        Raises:
            NodeError: This is not Debian, the user is not root, or dockerd does not answer.
        """
        if docker.answers():
            return False
        _require_debian_and_root()
        # dockerd sets the policy only if forwarding is disabled when it starts.
        network.write_sysctls(network.SYSCTLS)
        with docker_rules.forward_policy_kept():
            packages.install(PACKAGES, progress, self._paths)
            if not docker.answers():  # else systemd started it
                with progress.step("start Docker"):
                    self._write_runtime()
                    self._daemon().start(self._paths)
                    self._wait()
        return True

    def started(self) -> bool:
        """Return whether the engine that was started here is running."""
        return self._daemon().supervisor(self._paths) is not None

    def down(self, progress: Progress) -> bool:
        """Stop the engine if it was started here and has no containers.

        Returns:
            Whether it was stopped.

        Raises:
            NodeError: A packet filter rule of Docker cannot be removed.
        """
        if not self.started():
            return False
        if docker.answers() and capture(_STEP, ["docker", "ps", "--quiet"]).strip():
            return False  # another project's
        with progress.step("stop Docker"), docker_rules.forward_policy_kept():
            succeeds(["docker", "network", "prune", "--force"])  # and so their bridges
            self._daemon().stop(self._paths)
            docker_rules.remove()
            mounts.remove_tree(self._paths.run)
            mounts.remove_tree(self._paths.state)
        return True

    def _daemon(self) -> Daemon:
        runtime = None if _sys_resource() else self._runtime
        return Daemon("dockerd", arguments(runtime), exclusive=False)

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not docker.answers():
            if time.monotonic() > deadline:
                raise NodeError(
                    _STEP, "dockerd does not answer", tail(self._paths.log / "dockerd.log")
                )
            time.sleep(_POLL_SECONDS)

    def _write_runtime(self) -> None:
        self._runtime.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(runc_without_sys_resource.__file__, self._runtime)
        self._runtime.chmod(0o755)


def _sys_resource() -> bool:
    return parse_capability(Path("/proc/self/status").read_text(), CAP_SYS_RESOURCE)


def _require_debian_and_root() -> None:
    if not debian_and_root():
        raise NodeError(
            _STEP,
            "`make docker` installs Debian's docker.io, which needs Debian and root",
            what_to_do="Install Docker as its documentation describes, then run make up.",
        )
