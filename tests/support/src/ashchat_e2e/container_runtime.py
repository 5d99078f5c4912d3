"""The container runtime of a one-node cluster, for what a signal inside a container cannot do.

Process 1 ignores even SIGKILL from its own container, and Kubernetes has no API to freeze a pod.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_node.paths import Paths


class UnsupportedError(RuntimeError):
    """This kind of cluster does not give access to its container runtime."""


class Runtime:
    """ctr on the cluster's only node: on this machine, or in kind's container."""

    def __init__(self, kind: str) -> None:
        """Connect to a cluster's runtime; `kind` is "node" or "kind".

        Raises:
            UnsupportedError: It is another kind.
        """
        socket = Paths().containerd_socket
        ctr = Paths().cache / "bin" / "ctr"
        commands = {
            "node": (str(ctr), f"--address={socket}", "--namespace=k8s.io"),
            "kind": ("docker", "exec", "ashchat-control-plane", "ctr", "--namespace=k8s.io"),
        }
        if kind not in commands:
            raise UnsupportedError(
                f"no access to the container runtime of a cluster of kind {kind}"
            )
        self._ctr = commands[kind]

    async def kill(self, pod: Mapping[str, Any]) -> None:
        """Kill the processes of a pod's only container with SIGKILL.

        Raises:
            CommandFailedError: The container does not run.
        """
        await self._task("kill", "--all", "--signal=SIGKILL", _container(pod))

    async def freeze(self, pod: Mapping[str, Any]) -> None:
        """Freeze a pod's only container, as if its machine were suspended.

        Raises:
            CommandFailedError: The container does not run.
        """
        await self._task("pause", _container(pod))

    async def thaw(self, pod: Mapping[str, Any]) -> None:
        """Resume a frozen container.

        Raises:
            CommandFailedError: It is not frozen.
        """
        await self._task("resume", _container(pod))

    async def _task(self, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._ctr,
            "tasks",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said = (await process.communicate())[0].decode(errors="replace").strip()
        if process.returncode:
            raise CommandFailedError(f"ctr tasks {' '.join(arguments)}: {said}")


def _container(pod: Mapping[str, Any]) -> str:
    (status,) = pod["status"]["containerStatuses"]
    return str(status["containerID"]).removeprefix("containerd://")
