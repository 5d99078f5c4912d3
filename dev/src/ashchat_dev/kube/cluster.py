"""The cluster as the demo, the suite and the benchmarks see it, with one AshChat in it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2

from ashchat_core.api.names import Label
from ashchat_dev.kube.api import ApiError, Object, path_of
from ashchat_dev.kube.kubectl import Kubectl
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.waiting import until

Names = list[str]

PRIVATE_PORT: Final = 9000
"""Port of every service's health and metrics."""


def inverse(patch: Mapping[str, Any], current: Mapping[str, Any]) -> Object:
    """Return the merge patch that takes `patch` back from `current`; null drops a key."""
    back: Object = {}
    for key, value in patch.items():
        before = current.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            back[key] = inverse(value, before)
        else:
            back[key] = before
    return back


def pod_ready(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod is Ready and not terminating."""
    conditions = pod.get("status", {}).get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def rolled_out(workload: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a Deployment or StatefulSet has completely rolled out its spec.

    Args:
        workload: It, as read from the API server.
        pods: The pods of its namespace, read after it. Its status counts pods that were killed a
            moment ago until its controller has heard of them.
    """
    status = workload.get("status", {})
    wanted = workload["spec"].get("replicas", 1)
    # A StatefulSet has no `updatedReplicas` once its revisions agree; a Deployment keeps it.
    settled = status.get("updateRevision") == status.get("currentRevision")
    updated = status.get("updatedReplicas", wanted if settled and "updateRevision" in status else 0)
    own = workload["spec"]["selector"]["matchLabels"].items()
    running = [pod for pod in pods if own <= pod["metadata"]["labels"].items() and pod_ready(pod)]
    return bool(
        status.get("observedGeneration") == workload["metadata"]["generation"]
        and status.get("readyReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and updated == wanted
        and len(running) >= wanted
    )


class Cluster(Kubectl):
    """One cluster, and the AshChat in it that the suite works on."""

    def labels(self, component: str | None = None) -> dict[str, str]:
        """Return the labels that all children carry, or those of one component."""
        own = {Label.PART_OF.value: "ashchat", Label.INSTANCE.value: self.name}
        return {**own, Label.COMPONENT.value: component} if component else own

    async def resource(self) -> Object:
        """Return the AshChat.

        Raises:
            ApiError: There is none (404).
        """
        return await self.read("ashchats", self.name)

    async def unready(self) -> str:
        """Return why AshChat is not Ready, in one line; empty: it is.

        Ready is what the resource says for its newest generation *and* what the workloads
        say: right after a fault the resource may not have heard of it yet.
        """
        resource = await self.resource()
        conditions = {
            condition["type"]: condition
            for condition in resource.get("status", {}).get("conditions", [])
        }
        ready = conditions.get("Ready", {})
        if ready.get("status") != "True":
            return f"Ready is {ready.get('status')}: {ready.get('reason')}: {ready.get('message')}"
        if ready.get("observedGeneration") != resource["metadata"]["generation"]:
            return "Ready is of an older generation"
        workloads = [
            *await self.list("deployments", self.labels()),
            *await self.list("statefulsets", self.labels()),
        ]
        pods = await self.list("pods", self.labels())
        waiting = [work["metadata"]["name"] for work in workloads if not rolled_out(work, pods)]
        return f"not rolled out: {', '.join(waiting)}" if waiting else ""

    async def wait_ready(self, *, within: float = 180.0) -> None:
        """Wait until AshChat is Ready for its newest generation.

        Raises:
            AssertionError: It is not; the message says what it waits for.
        """
        last = "nothing heard"

        async def probe() -> bool:
            nonlocal last
            last = await self.unready()
            return not last

        try:
            await until(
                probe,
                within=within,
                every=0.5,
                what="AshChat Ready",
                ignoring=(ApiError, httpx2.TransportError),
            )
        except AssertionError as error:
            raise AssertionError(f"AshChat is not Ready after {within:g} s: {last}") from error

    @asynccontextmanager
    async def spec(self, patch: Mapping[str, Any], *, within: float = 180.0) -> AsyncIterator[None]:
        """Merge-patch the AshChat's spec, wait until Ready; take it back at the end, and wait.

        Raises:
            ApiError: The API server refused the spec.
            AssertionError: It did not become Ready.
        """
        back = inverse(patch, (await self.resource())["spec"])
        await self.patch("ashchats", self.name, {"spec": patch})
        try:
            await self.wait_ready(within=within)
            yield
        finally:
            await self.patch("ashchats", self.name, {"spec": back})
            await self.wait_ready(within=within)

    async def pods(self, component: str, *, namespace: str | None = None) -> Names:
        """Return the names of a component's ready pods, sorted."""
        return sorted(
            pod["metadata"]["name"]
            for pod in await self.list("pods", self.labels(component), namespace=namespace)
            if pod_ready(pod)
        )

    async def wait_former_gone(self, component: str, *, within: float = 60.0) -> None:
        """Wait until no pod of a component is on its way out: an ending one still works.

        Raises:
            AssertionError: One is still there.
        """

        async def alone() -> bool:
            pods = await self.list("pods", self.labels(component))
            return not any("deletionTimestamp" in pod["metadata"] for pod in pods)

        await until(
            alone,
            within=within,
            what=f"the former pods of {component} gone",
            ignoring=(ApiError, httpx2.TransportError),
        )

    async def kill(self, component: str) -> Names:
        """Delete all pods of a component at once and without grace; return their names.

        Raises:
            AssertionError: There was none to kill, so nothing would be proven.
        """
        names = [pod["metadata"]["name"] for pod in await self.list("pods", self.labels(component))]
        assert names, f"{component} has no pod to kill"  # noqa: S101 (a test's helper)
        await asyncio.gather(*(self.delete("pods", name, now=True) for name in names))
        return names

    async def metrics(self, pod: str, *, namespace: str | None = None) -> Metrics:
        """Return a pod's metrics, through the API server's proxy.

        Raises:
            ApiError: The pod does not answer.
        """
        place = path_of("pods", f"{pod}:{PRIVATE_PORT}", namespace or self.namespace)
        return Metrics(await self.get(f"{place}/proxy/metrics"))
