"""The cluster as the suite sees it: the API server over HTTP, and kubectl for streams.

Plain HTTP with the kubeconfig's certificate is enough for reading, patching and deleting;
exec and port-forward are kubectl's, which knows the streaming protocols of every version.
"""

import asyncio
import base64
import re
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

import httpx2
import yaml

from ashchat_core.api.names import Label
from ashchat_dev.kube.metrics import Metrics
from ashchat_dev.waiting import until

Object = dict[str, Any]
Names = list[str]

PRIVATE_PORT: Final = 9000
"""Port of every service's health and metrics."""

FORWARD_BEGINS_SECONDS: Final = 20.0
FORWARD_AGAIN_SECONDS: Final = 0.3

_GROUPS: Final = {
    "ashchats": "apis/ashchat.dev/v1alpha1",
    "deployments": "apis/apps/v1",
    "statefulsets": "apis/apps/v1",
    "replicasets": "apis/apps/v1",
    "daemonsets": "apis/apps/v1",
    "jobs": "apis/batch/v1",
    "poddisruptionbudgets": "apis/policy/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "ingresses": "apis/networking.k8s.io/v1",
    "roles": "apis/rbac.authorization.k8s.io/v1",
    "rolebindings": "apis/rbac.authorization.k8s.io/v1",
    "horizontalpodautoscalers": "apis/autoscaling/v2",
    "leases": "apis/coordination.k8s.io/v1",
    "customresourcedefinitions": "apis/apiextensions.k8s.io/v1",
}
_CLUSTER_SCOPED: Final = {"namespaces", "nodes", "persistentvolumes", "customresourcedefinitions"}
_PATCHES: Final = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
PatchKind = Literal["merge", "json", "strategic", "apply"]


class ApiError(RuntimeError):
    """The API server refused; `status` is the HTTP code, `message` what it says to a person."""

    def __init__(self, status: int, body: Any) -> None:
        said = body if isinstance(body, dict) else {}
        self.status = status
        self.reason = str(said.get("reason", ""))
        self.message = str(said.get("message", body))
        super().__init__(f"{status} {self.reason}: {self.message}")


class CommandFailedError(RuntimeError):
    """kubectl, or the command it ran in a pod, failed."""


def path_of(kind: str, name: str | None = None, namespace: str | None = None) -> str:
    """Return the API path of a kind (plural), or of one object."""
    place = "" if kind in _CLUSTER_SCOPED or namespace is None else f"/namespaces/{namespace}"
    return f"/{_GROUPS.get(kind, 'api/v1')}{place}/{kind}" + (f"/{name}" if name else "")


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


class Cluster:
    """One cluster, and the AshChat in it that the suite works on."""

    def __init__(
        self,
        kubeconfig: Path,
        *,
        kubectl: str = "kubectl",
        namespace: str = "ashchat",
        name: str = "demo",
        operator_namespace: str = "ashchat-system",
    ) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl = kubectl
        self.namespace = namespace
        self.name = name
        self.operator_namespace = operator_namespace
        self._client = _client(kubeconfig)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    # The API server

    async def request(
        self, method: str, path: str, *, json: Any = None, content_type: str = "", **query: str
    ) -> Any:
        """Send a request to the API server; return its JSON (or text) answer.

        Raises:
            ApiError: It answered with an error.
        """
        headers = {"Content-Type": content_type} if content_type else {}
        answer = await self._client.request(
            method, path, params=query, headers=headers, **({} if json is None else {"json": json})
        )
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        body = answer.json() if is_json else answer.text
        if answer.is_error:
            raise ApiError(answer.status_code, body)
        return body

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, headers: Mapping[str, str], content: bytes, seconds: float
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request as it is; yield the answer, to be read as it comes."""
        async with self._client.stream(
            method, path, headers=headers, content=content, timeout=seconds
        ) as answer:
            yield answer

    async def get(self, path: str, **query: str) -> Any:
        """GET a path of the API server.

        Raises:
            ApiError: It answered with an error.
        """
        return await self.request("GET", path, **query)

    async def list(
        self,
        kind: str,
        labels: Mapping[str, str] | None = None,
        *,
        namespace: str | None = None,
    ) -> list[Object]:
        """Return the objects of a kind (plural) with these labels in a namespace (ours).

        Raises:
            ApiError: The API server refused.
        """
        query = (
            {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
            if labels
            else {}
        )
        found = await self.get(path_of(kind, None, namespace or self.namespace), **query)
        items: list[Object] = found["items"]
        return items

    async def read(self, kind: str, name: str, *, namespace: str | None = None) -> Object:
        """Return one object.

        Raises:
            ApiError: There is none (404), or the API server refused.
        """
        found: Object = await self.get(path_of(kind, name, namespace or self.namespace))
        return found

    async def find(self, kind: str, name: str, *, namespace: str | None = None) -> Object | None:
        """Return one object, None when there is none.

        Raises:
            ApiError: The API server refused.
        """
        try:
            return await self.read(kind, name, namespace=namespace)
        except ApiError as error:
            if error.status == httpx2.codes.NOT_FOUND:
                return None
            raise

    async def create(self, kind: str, body: Object, *, namespace: str | None = None) -> Object:
        """Create an object.

        Raises:
            ApiError: The API server refused it; the message says why.
        """
        made: Object = await self.request(
            "POST", path_of(kind, None, namespace or self.namespace), json=body
        )
        return made

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        *,
        kind: PatchKind = "merge",
        namespace: str | None = None,
    ) -> Object:
        """Patch an object.

        Raises:
            ApiError: The API server refused it; the message says why.
        """
        patched: Object = await self.request(
            "PATCH",
            path_of(resource, name, namespace or self.namespace),
            json=patch,
            content_type=_PATCHES[kind],
        )
        return patched

    async def delete(
        self, kind: str, name: str, *, now: bool = False, namespace: str | None = None
    ) -> None:
        """Delete an object; one that is gone already is fine.

        Args:
            kind: The plural.
            name: The object's name.
            now: Without a grace period, as `--grace-period=0 --force`.
            namespace: Ours by default.

        Raises:
            ApiError: The API server refused.
        """
        body: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if now:
            body["gracePeriodSeconds"] = 0
        try:
            await self.request(
                "DELETE", path_of(kind, name, namespace or self.namespace), json=body
            )
        except ApiError as error:
            if error.status != httpx2.codes.NOT_FOUND:
                raise

    async def secret(self, name: str, *, namespace: str | None = None) -> dict[str, bytes]:
        """Return a Secret's data, decoded.

        Raises:
            ApiError: There is none (404), or the API server refused.
        """
        found = await self.read("secrets", name, namespace=namespace)
        return {key: base64.b64decode(value) for key, value in found.get("data", {}).items()}

    async def put_secret(
        self,
        name: str,
        text: Mapping[str, str],
        *,
        labels: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> None:
        """Make a Secret, or make it say this and nothing else.

        Args:
            name: Its name.
            text: What it is to say.
            labels: Its labels, where it is made.
            namespace: Ours by default.

        Raises:
            ApiError: The API server refused.
        """
        data = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
        if await self.find("secrets", name, namespace=namespace) is None:
            metadata = {"name": name, "labels": dict(labels or {})}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
            await self.create("secrets", body, namespace=namespace)
            return
        change = [{"op": "replace", "path": "/data", "value": data}]
        await self.patch("secrets", name, change, kind="json", namespace=namespace)

    # AshChat

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

    # Streams

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


def _client(kubeconfig: Path) -> httpx2.AsyncClient:
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    context = _named(config["contexts"], config["current-context"])["context"]
    server = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    trust = ssl.create_default_context(
        cafile=server.get("certificate-authority"),
        cadata=_text(server.get("certificate-authority-data")),
    )
    headers = {}
    if "token" in user:
        headers["Authorization"] = f"Bearer {user['token']}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            # ssl loads a client certificate from files only.
            files = {
                what: _file(user, f"client-{what}", Path(folder)) for what in ("certificate", "key")
            }
            trust.load_cert_chain(files["certificate"], files["key"])
    return httpx2.AsyncClient(
        base_url=server["server"], verify=trust, headers=headers, timeout=30, trust_env=False
    )


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)


def _text(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None


def _file(user: Object, key: str, folder: Path) -> Path:
    if key in user:
        return Path(user[key])
    path = folder / key
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(user[f"{key}-data"]))
    return path
