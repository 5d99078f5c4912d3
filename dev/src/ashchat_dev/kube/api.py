"""Kubernetes' API server over plain HTTP, with the kubeconfig's certificate or token."""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, Self

import httpx2

from ashchat_dev.kube.kubeconfig import client

Object = dict[str, Any]

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


def path_of(kind: str, name: str | None = None, namespace: str | None = None) -> str:
    """Return the API path of a kind (plural), or of one object."""
    place = "" if kind in _CLUSTER_SCOPED or namespace is None else f"/namespaces/{namespace}"
    return f"/{_GROUPS.get(kind, 'api/v1')}{place}/{kind}" + (f"/{name}" if name else "")


class KubernetesApi:
    """Objects of a cluster, by default those of one namespace."""

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
        self._client = client(kubeconfig)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

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
