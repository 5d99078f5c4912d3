"""kubectl, for the streams that each version of Kubernetes transports in its own way."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from ashchat_dev.kube.api import KubernetesApi, path_of

FORWARD_BEGINS_SECONDS: Final = 20.0
FORWARD_AGAIN_SECONDS: Final = 0.3


class CommandFailedError(RuntimeError):
    """kubectl, or the command it ran in a pod, failed."""


class Kubectl(KubernetesApi):
    """The API, and commands and ports in pods."""

    async def kubectl_run(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl in our namespace and return what it printed.

        Raises:
            CommandFailedError: It failed; the message has what it said.
        """
        process = await asyncio.create_subprocess_exec(
            self.kubectl,
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={self.namespace}",
            *args,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(stdin.encode() if stdin is not None else None)
        if process.returncode:
            raise CommandFailedError(
                f"kubectl {' '.join(args)}: {err.decode(errors='replace').strip()}"
            )
        return out.decode(errors="replace")

    async def exec(
        self, pod: str, *command: str, container: str | None = None, stdin: str | None = None
    ) -> str:
        """Run a command in a pod and return what it printed.

        Raises:
            CommandFailedError: It failed.
        """
        options = [
            *(["-i"] if stdin is not None else []),
            *(["-c", container] if container else []),
        ]
        return await self.kubectl_run("exec", *options, pod, "--", *command, stdin=stdin)

    async def logs(
        self, pod: str, *, container: str | None = None, namespace: str | None = None
    ) -> str:
        """Return a pod's log (of all its containers when none is named).

        Raises:
            ApiError: There is none.
        """
        place = path_of("pods", pod, namespace or self.namespace)
        if container is None:
            body = await self.read("pods", pod, namespace=namespace)
            names = [one["name"] for one in body["spec"]["containers"]]
        else:
            names = [container]
        texts = [await self.get(f"{place}/log", container=name) for name in names]
        return "\n".join(str(text) for text in texts)

    @asynccontextmanager
    async def forward(
        self, target: str, port: int, *, namespace: str | None = None
    ) -> AsyncIterator[int]:
        """Forward a free local port to a pod or service ("service/demo-redis"); yield the port.

        kubectl ends when one forwarded connection breaks
        (https://github.com/kubernetes/kubernetes/issues/111825); it is started again on the
        same port, so that the others can reconnect.

        Raises:
            CommandFailedError: kubectl could not.
        """
        place = namespace or self.namespace
        forwarding = await self._forwarding(target, f":{port}", place)
        keeping = asyncio.create_task(
            self._keep_forwarding(forwarding, target, f"{forwarding.local}:{port}", place)
        )
        try:
            yield forwarding.local
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def _keep_forwarding(
        self, forwarding: "_Forwarding", target: str, ports: str, namespace: str
    ) -> None:
        while True:
            try:
                # Each connection prints a line; a full pipe would stop the forwarding.
                await forwarding.process.communicate()
            finally:
                await forwarding.end()
            while True:
                try:
                    forwarding = await self._forwarding(target, ports, namespace)
                except CommandFailedError:
                    await asyncio.sleep(FORWARD_AGAIN_SECONDS)
                else:
                    break

    async def _forwarding(self, target: str, ports: str, namespace: str) -> "_Forwarding":
        process = await asyncio.create_subprocess_exec(
            self.kubectl,
            f"--kubeconfig={self.kubeconfig}",
            f"--namespace={namespace}",
            "port-forward",
            "--address=127.0.0.1",
            target,
            ports,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        forwarding = _Forwarding(process)
        said = b""
        try:
            async with asyncio.timeout(FORWARD_BEGINS_SECONDS):
                # An end of the output is kubectl's end: it could not.
                while line := await forwarding.output.readline():
                    if found := re.search(rb"127\.0\.0\.1:(\d+) ->", line):
                        forwarding.local = int(found.group(1))
                        return forwarding
                    said += line
        except BaseException:
            await forwarding.end()
            raise
        await forwarding.end()
        raise CommandFailedError(f"kubectl port-forward {target}: {said.decode(errors='replace')}")


class _Forwarding:
    """A kubectl that forwards a port."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise CommandFailedError("kubectl port-forward has no output to read")
        self.process = process
        self.output = process.stdout
        self.local = 0

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.terminate()
        await self.process.wait()
