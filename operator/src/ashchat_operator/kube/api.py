"""The requests that the operator sends to the Kubernetes API, with plain JSON.

A client with generated models has no advantage, because everything rendered is JSON already. `pool`
provides the address, the certificates and renewed tokens.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final, Self
from urllib.parse import quote, urlencode

import aiohttp

from ashchat_core.api.names import GROUP, KIND, PLURAL, VERSION
from ashchat_operator.kube.errors import (
    CONFLICT,
    NOT_FOUND,
    SERVER_ERRORS_FROM,
    TOO_MANY_REQUESTS,
    ApiServerError,
    NotLeadingError,
)
from ashchat_operator.kube.pool import ConnectionPool, login
from ashchat_operator.metrics import API_REQUESTS
from ashchat_operator.resource.types import Object

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Event": ("/api/v1", "events"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
    "Gateway": ("/apis/gateway.networking.k8s.io/v1", "gateways"),
    KIND: (f"/apis/{GROUP}/{VERSION}", PLURAL),
}
"""Kind → the path of its API, and its plural."""

DISCOVERY_SECONDS: Final = 30.0
"""How long the result of API discovery is cached."""

REQUEST_TIMEOUT_SECONDS: Final = 20.0

IN_FLIGHT: Final = 16
"""Maximum concurrent requests, excluding watches, so that a hundred new AshChats do not starve
other clients of the API server."""

NO_VERSION: Final = "1"
"""A version that no object has: etcd's first revision is that of an empty store, before any write
(https://etcd.io/docs/latest/learning/data_model/). 0 would match any version."""

TRIES: Final = 5
"""Maximum attempts of a request that the API server asks to retry (429 or 5xx with Retry-After).

The API server has not acted on such a request, so a write can be retried too. client-go does the
same.
"""

LATER_MAX_SECONDS: Final = 10.0
"""Maximum Retry-After to wait for; with a longer one the next pass retries."""

_ERRORS_FROM: Final = 400

_VERBS: Final = {"PUT": "update", "POST": "create"}

_PLURAL: Final = re.compile(r"/(?:api|apis/[^/]+)/[^/]+/(?:namespaces/[^/]+/)?([^/]+)")

_KINDS: Final = {plural: kind for kind, (_, plural) in PLACES.items()}


class Api:
    """A connection to the API server. An asynchronous context manager."""

    def __init__(self, connection: ConnectionPool) -> None:
        self._connection = connection
        self.may_write: Callable[[], bool] = lambda: True
        """Called before every writing request."""
        self._served: dict[str, tuple[float, bool]] = {}
        self._room = asyncio.Semaphore(IN_FLIGHT)

    @classmethod
    async def connect(cls) -> Self:
        """Connect from inside a pod, or with a kubeconfig.

        Raises:
            kopf.LoginError: There is neither a service account nor a kubeconfig.
        """
        return cls(ConnectionPool(login()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def serves(self, kind: str) -> bool:
        """Return whether the cluster serves a kind; cached for DISCOVERY_SECONDS.

        Raises:
            ApiServerError: Discovery failed.
        """
        group = PLACES[kind][0]
        asked, served = self._served.get(kind, (-DISCOVERY_SECONDS, False))
        if time.monotonic() - asked < DISCOVERY_SECONDS:
            return served
        try:
            answer = await self._request("GET", group)
        except ApiServerError as error:
            if error.status != NOT_FOUND:
                raise
            answer = {"resources": []}
        served = any(item["kind"] == kind for item in answer["resources"])
        self._served[kind] = time.monotonic(), served
        return served

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object; None if it does not exist.

        Raises:
            ApiServerError: A response other than 200 and 404.
        """
        try:
            return await self._request("GET", _path(kind, namespace, name))
        except ApiServerError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def get_each(
        self, kind: str, namespace: str, names: Iterable[str]
    ) -> dict[str, Object | None]:
        """Return objects by name; None for those that do not exist.

        Raises:
            ApiServerError: A response other than 200 and 404.
        """
        once = sorted(set(names))
        found = await asyncio.gather(*(self.get(kind, namespace, name) for name in once))
        return dict(zip(once, found, strict=True))

    async def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a kind (without `kind` and `apiVersion`).

        Raises:
            ApiServerError: The API server refused.
        """
        query = {"labelSelector": ",".join(f"{k}={v}" for k, v in (labels or {}).items())}
        answer = await self._request("GET", _path(kind, namespace), query=query)
        items: list[Object] = answer["items"]
        return items

    async def document(self, path: str) -> Object:
        """Return the document at a path that is not an object's.

        Raises:
            ApiServerError: A response other than 200.
        """
        return await self._request("GET", path)

    async def apply(self, body: Object, manager: str, *, new: bool = False) -> Object:
        """Apply an object server-side, overriding other managers of its fields.

        Args:
            body: The object.
            manager: The field manager.
            new: The object must not exist yet. The API server compares its version with the one
                given, and creates an object that does not exist
                (https://github.com/kubernetes/kubernetes/issues/106745).

        Raises:
            ApiServerError: The API server refused; status 409 for a new object: it exists.
        """
        where = body["metadata"]
        if new:
            body = {**body, "metadata": {**where, "resourceVersion": NO_VERSION}}
        return await self._request(
            "PATCH",
            _path(body["kind"], where["namespace"], where["name"]),
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    async def create(self, body: Object, manager: str) -> Object:
        """Create an object that must not exist yet.

        Raises:
            ApiServerError: The API server refused; status 409: it exists.
        """
        return await self._request(
            "POST",
            _path(body["kind"], body["metadata"]["namespace"]),
            query={"fieldManager": manager},
            body=body,
        )

    async def replace(self, body: Object, manager: str, *, status: bool = False) -> Object:
        """Replace an object that was read before, or its status.

        Raises:
            ApiServerError: The API server refused; status 409: it changed in between.
        """
        where = body["metadata"]
        path = _path(body["kind"], where["namespace"], where["name"])
        return await self._request(
            "PUT",
            f"{path}/status" if status else path,
            query={"fieldManager": manager},
            body=body,
        )

    async def patch_metadata(self, body: Object, metadata: Object, manager: str) -> Object:
        """Merge fields into an object's metadata; with a resourceVersion, only into that version.

        Raises:
            ApiServerError: The API server refused; status 409: it changed in between.
        """
        where = body["metadata"]
        return await self._request(
            "PATCH",
            _path(body["kind"], where["namespace"], where["name"]),
            query={"fieldManager": manager},
            body={"metadata": metadata},
            content_type="application/merge-patch+json",
        )

    async def delete(self, body: Object) -> None:
        """Delete exactly this object (by its uid), and its dependents in the background.

        Raises:
            ApiServerError: The API server refused, for a reason other than that it is deleted.
        """
        where = body["metadata"]
        try:
            await self._request(
                "DELETE",
                _path(body["kind"], where["namespace"], where["name"]),
                body={
                    "propagationPolicy": "Background",
                    "preconditions": {"uid": where["uid"]},
                },
            )
        except ApiServerError as error:
            if error.status not in {NOT_FOUND, CONFLICT}:
                raise

    async def watch(
        self,
        kind: str,
        namespace: str | None,
        labels: Mapping[str, str],
        *,
        version: str,
        seconds: int,
        grace_seconds: float,
    ) -> AsyncIterator[Object]:
        """Yield the watch events of the objects of a kind with these labels, metadata only.

        Args:
            kind: The kind.
            namespace: The namespace; None: all.
            labels: The labels to select by.
            version: The resourceVersion to continue from; empty: begin with all objects.
            seconds: How long until the API server ends the watch.
            grace_seconds: How much later a silent connection counts as dead.

        Raises:
            ApiServerError: The API server refused.
            TimeoutError: The connection is dead.
            OSError, aiohttp.ClientError: The connection broke.
        """
        query = {
            "labelSelector": ",".join(f"{k}={v}" for k, v in labels.items()),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
            "resourceVersion": version,
        }
        response = await self._send(
            "GET",
            _path(kind, namespace),
            query=query,
            accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            timeout_seconds=seconds + grace_seconds,
        )
        if response.status >= _ERRORS_FROM:
            raise _refusal(response.status, await response.read(), response.reason)
        try:
            async for line in response.content:
                yield json.loads(line)
        finally:
            response.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        async with self._room:
            response = await self._send(
                method, path, query=query, body=body, content_type=content_type
            )
            text = await response.read()
        if response.status >= _ERRORS_FROM:
            raise _refusal(response.status, text, response.reason)
        answer: Object = json.loads(text or b"{}")
        return answer

    # Seven parameters: they are the parts of one HTTP request.
    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
    ) -> aiohttp.ClientResponse:
        found = {key: value for key, value in (query or {}).items() if value}
        address = path + (f"?{urlencode(found)}" if found else "")
        headers = {"Accept": accept}
        content = None
        if body is not None:
            headers["Content-Type"] = content_type
            content = json.dumps(body, separators=(",", ":")).encode()
        for left in reversed(range(TRIES)):
            if method != "GET" and not self.may_write():
                raise NotLeadingError(f"{method} {path} was not sent")
            code = 0
            try:
                response = await self._connection.request(
                    method, address, headers=headers, body=content, timeout_seconds=timeout_seconds
                )
                code = response.status
            finally:
                verb = "watch" if "watch" in found else _VERBS.get(method, method.lower())
                API_REQUESTS.labels(verb, _kind(path), code).inc()
            later = _later(response.status, response.headers)
            if later is None or not left:
                break
            response.close()
            await asyncio.sleep(later)
        return response


def _later(status: int, headers: Mapping[str, str]) -> float | None:
    """Return the seconds after which to retry a response; None: do not retry."""
    if status != TOO_MANY_REQUESTS and status < SERVER_ERRORS_FROM:
        return None
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None  # RFC 9110 also allows a date; the API server sends seconds.
    return seconds if 0 <= seconds <= LATER_MAX_SECONDS else None


def _refusal(status: int, body: bytes, reason: str | None) -> ApiServerError:
    """Return the error of the API server, or of a proxy in front of it that sends no JSON."""
    message = reason or f"HTTP {status}"
    try:
        answer: Object = json.loads(body or b"{}")
    except ValueError:
        return ApiServerError(status, message)
    causes = (answer.get("details") or {}).get("causes") or []
    return ApiServerError(
        status, answer.get("message") or message, frozenset(x.get("reason", "") for x in causes)
    )


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    place, plural = PLACES[kind]
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{place}{inside}/{plural}" + (f"/{quote(name, safe='')}" if name else "")


def _kind(path: str) -> str:
    """Return the kind of the object at a path, for metrics; "other" if it is no object."""
    found = _PLURAL.match(path)
    return _KINDS.get(found[1], "other") if found else "other"
