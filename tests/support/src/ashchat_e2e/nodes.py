"""The nodes of a kind cluster: lost, cut off and drained from outside, and what is on them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from ashchat_core.api.names import Label
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.kube.kubectl import CommandFailedError
from ashchat_dev.waiting import until

NOTICED_WITHIN_S: Final = 120.0
"""The control plane waits 50 s for a node's reports by default (node-monitor-grace-period)."""

BACK_WITHIN_S: Final = 120.0
SUSPENDED_WITHIN_S: Final = 30.0
_CONTROL_PLANE: Final = "node-role.kubernetes.io/control-plane"
_INCOMING: Final = ("-t", "raw", "PREROUTING", "-i", "eth0")
_OUTGOING: Final = ("-t", "mangle", "POSTROUTING", "-o", "eth0")

Object = dict[str, Any]


class Nodes:
    """The nodes of a cluster, whose names are those of Docker's containers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def names(self) -> list[str]:
        """Return the names of all nodes."""
        return sorted(node["metadata"]["name"] for node in await self._cluster.list("nodes"))

    async def of(self, component: str) -> dict[str, str]:
        """Return the node of each pod of a component that is not terminating."""
        pods = await self._cluster.list("pods", self._cluster.labels(component))
        return {
            pod["metadata"]["name"]: pod["spec"].get("nodeName", "")
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
        }

    async def without_data(self) -> str:
        """Return a node whose loss takes neither the control plane nor a volume away.

        Raises:
            AssertionError: There is none.
        """
        candidates = sorted(await self._workers() - (await self.volumes()).keys())
        assert candidates, "every worker holds a volume"
        return candidates[0]

    async def volumes(self) -> dict[str, set[str]]:
        """Return the components with volumes of each node that has any."""
        found: dict[str, set[str]] = {}
        for pod in await self._cluster.list("pods", self._cluster.labels()):
            if any("persistentVolumeClaim" in each for each in pod["spec"].get("volumes", ())):
                name = pod["metadata"]["labels"][Label.COMPONENT.value]
                found.setdefault(pod["spec"]["nodeName"], set()).add(name)
        return found

    @asynccontextmanager
    async def only(self, node: str) -> AsyncIterator[None]:
        """Let no other node take pods for as long as the context is open."""
        others = [name for name in await self.names() if name != node]
        await self._cluster.kubectl_run("cordon", *others)
        try:
            yield
        finally:
            await self._cluster.kubectl_run("uncordon", *others)

    @asynccontextmanager
    async def lost(self, node: str) -> AsyncIterator[None]:
        """Suspend a node for as long as the context is open; then wait until it is Ready.

        Everything on it stops, and its addresses do not answer.
        """
        await _suspend(node)
        try:
            yield
        finally:
            await _docker("unpause", node)
            await self.wait_ready(node)

    @asynccontextmanager
    async def cut_off(self, node: str) -> AsyncIterator[None]:
        """Drop every packet between a node and the others for as long as the context is open."""
        for rule in (_INCOMING, _OUTGOING):
            await _docker("exec", node, "iptables", "--wait", *_rule("-I", rule))
        try:
            yield
        finally:
            for rule in (_INCOMING, _OUTGOING):
                await _docker("exec", node, "iptables", "--wait", *_rule("-D", rule))
            await self.wait_ready(node)

    @asynccontextmanager
    async def drained(self, node: str) -> AsyncIterator[None]:
        """Evict the AshChat's pods of a node, which takes no pods while the context is open."""
        ours = ",".join(f"{key}={value}" for key, value in self._cluster.labels().items())
        await self._cluster.kubectl_run(
            "drain", node, f"--pod-selector={ours}", "--delete-emptydir-data", "--timeout=300s"
        )
        try:
            yield
        finally:
            await self._cluster.kubectl_run("uncordon", node)

    async def wait_noticed(self, node: str) -> None:
        """Wait until the control plane reports that a node is not Ready."""
        await until(
            lambda: self._not(node), within=NOTICED_WITHIN_S, what=f"{node} is reported as lost"
        )

    async def wait_ready(self, node: str) -> None:
        """Wait until a node is Ready."""
        await until(lambda: self._is(node), within=BACK_WITHIN_S, what=f"{node} is Ready")

    async def _is(self, node: str) -> bool:
        conditions = (await self._cluster.read("nodes", node))["status"]["conditions"]
        (status,) = [each["status"] for each in conditions if each["type"] == "Ready"]
        return bool(status == "True")

    async def _not(self, node: str) -> bool:
        return not await self._is(node)

    async def _workers(self) -> set[str]:
        return {
            node["metadata"]["name"]
            for node in await self._cluster.list("nodes")
            if _CONTROL_PLANE not in node["metadata"]["labels"]
        }


def _rule(action: str, rule: tuple[str, ...]) -> tuple[str, ...]:
    option, table, chain, *rest = rule
    return (option, table, action, chain, *rest, "-j", "DROP")


async def _suspend(node: str) -> None:
    """Suspend a node; with cgroup v1 a busy one may need several attempts ("unable to freeze")."""

    async def suspended() -> bool:
        await _docker("pause", node)
        return True

    await until(
        suspended,
        within=SUSPENDED_WITHIN_S,
        every=0.5,
        what=f"{node} is suspended",
        ignoring=(CommandFailedError,),
    )


async def _docker(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode(errors="replace").strip()
    if process.returncode:
        raise CommandFailedError(f"docker {' '.join(arguments)}: {said}")
