"""The container runtime of a node, for what a signal inside a container cannot do.

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
    """ctr on a pod's node: on this machine, or in the container that is kind's node."""

    def __init__(self, kind: str) -> None:
        """Connect to a cluster's runtime; `kind` is "node" or "kind".

        Raises:
            UnsupportedError: It is another kind.
        """
        if kind not in {"node", "kind"}:
            raise UnsupportedError(
                f"no access to the container runtime of a cluster of kind {kind}"
            )
        self._kind = kind

    async def kill(self, pod: Mapping[str, Any]) -> None:
        """Kill the processes of a pod's only container with SIGKILL.

        Raises:
            CommandFailedError: The container does not run.
        """
        await self._task(pod, "kill", "--all", "--signal=SIGKILL", _container(pod))

    async def freeze(self, pod: Mapping[str, Any]) -> None:
        """Freeze a pod's only container, as if its machine were suspended.

        Raises:
            CommandFailedError: The container does not run.
        """
        await self._task(pod, "pause", _container(pod))

    async def thaw(self, pod: Mapping[str, Any]) -> None:
        """Resume a frozen container.

        Raises:
            CommandFailedError: It is not frozen.
        """
        await self._task(pod, "resume", _container(pod))

    def _ctr(self, pod: Mapping[str, Any]) -> tuple[str, ...]:
        if self._kind == "kind":  # its containers have the names of the nodes
            return ("docker", "exec", pod["spec"]["nodeName"], "ctr", "--namespace=k8s.io")
        ctr = Paths().cache / "bin" / "ctr"
        return (str(ctr), f"--address={Paths().containerd_socket}", "--namespace=k8s.io")

    async def _task(self, pod: Mapping[str, Any], *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._ctr(pod),
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
