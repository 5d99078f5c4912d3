"""The few calls of the Kubernetes API that the operator makes, on plain JSON.

The generated client brings configuration, certificates and renewed tokens; its models
would only be in the way, since everything rendered is JSON already.
"""

import json
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from kubernetes.aio import client, config

from ashchat_operator.model import GROUP, KIND, PLURAL, VERSION

Object = dict[str, Any]

PLACES: Final[Mapping[str, tuple[str, str]]] = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Event": ("/api/v1", "events"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Ingress": ("/apis/networking.k8s.io/v1", "ingresses"),
    "HTTPRoute": ("/apis/gateway.networking.k8s.io/v1", "httproutes"),
    "Gateway": ("/apis/gateway.networking.k8s.io/v1", "gateways"),
    KIND: (f"/apis/{GROUP}/{VERSION}", PLURAL),
}
"""Where each kind is: the API's path and the kind's plural."""

DISCOVERY_SECONDS: Final = 30.0
"""So long it is believed which kinds there are."""

REQUEST_TIMEOUT_S: Final = 20.0
NOT_FOUND: Final = 404
CONFLICT: Final = 409
_ERRORS_FROM: Final = 400


class RefusedByApiServer(Exception):
    """The API server answered with an error; the text is its own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A connection to the API server. An asynchronous context manager."""

    def __init__(self, connection: client.ApiClient) -> None:
        self._connection = connection
        self._served: dict[str, tuple[float, bool]] = {}

    @classmethod
    async def connect(cls) -> Self:
        """Connect from inside a pod, or as the kubeconfig says.

        Raises:
            kubernetes.aio.config.ConfigException: There is neither.
        """
        try:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
        except config.ConfigException:
            await config.load_kube_config()  # type: ignore[no-untyped-call]
        return cls(client.ApiClient())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()  # type: ignore[no-untyped-call]

    async def serves(self, kind: str) -> bool:
        """Tell whether the cluster knows a kind; asked again after DISCOVERY_SECONDS.

        Raises:
            RefusedByApiServer: It cannot be found out.
        """
        group = PLACES[kind][0]
        asked, served = self._served.get(kind, (-DISCOVERY_SECONDS, False))
        if time.monotonic() - asked < DISCOVERY_SECONDS:
            return served
        try:
            answer = await self._request("GET", group)
        except RefusedByApiServer as error:
            if error.status != NOT_FOUND:
                raise
            answer = {"resources": []}
        served = any(item["kind"] == kind for item in answer["resources"])
        self._served[kind] = time.monotonic(), served
        return served

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return an object, None where there is none.

        Raises:
            RefusedByApiServer: Any other answer than 200 and 404.
        """
        try:
            return await self._request("GET", _path(kind, namespace, name))
        except RefusedByApiServer as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a kind (without `kind` and `apiVersion`).

        Raises:
            RefusedByApiServer: The API server refused.
        """
        query = {"labelSelector": ",".join(f"{k}={v}" for k, v in (labels or {}).items())}
        answer = await self._request("GET", _path(kind, namespace), query=query)
        items: list[Object] = answer["items"]
        return items

    async def apply(self, body: Object, manager: str) -> Object:
        """Apply an object server-side; what others set in its fields is overruled.

        Raises:
            RefusedByApiServer: The API server refused.
        """
        where = body["metadata"]
        return await self._request(
            "PATCH",
            _path(body["kind"], where["namespace"], where["name"]),
            query={"fieldManager": manager, "force": "true"},
            body=body,
            content_type="application/apply-patch+yaml",
        )

    async def create(self, body: Object, manager: str) -> Object:
        """Create an object that must not be there yet.

        Raises:
            RefusedByApiServer: The API server refused; status 409: it is there.
        """
        return await self._request(
            "POST",
            _path(body["kind"], body["metadata"]["namespace"]),
            query={"fieldManager": manager},
            body=body,
        )

    async def replace(self, body: Object, manager: str, *, status: bool = False) -> Object:
        """Replace an object read before, or its status.

        Raises:
            RefusedByApiServer: The API server refused; status 409: it changed in between.
        """
        where = body["metadata"]
        path = _path(body["kind"], where["namespace"], where["name"])
        return await self._request(
            "PUT",
            f"{path}/status" if status else path,
            query={"fieldManager": manager},
            body=body,
        )

    async def delete(self, body: Object) -> None:
        """Delete exactly this object (by its uid), its own children in the background.

        Raises:
            RefusedByApiServer: The API server refused, other than that it is gone.
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
        except RefusedByApiServer as error:
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
        """Yield the events of a kind's objects with these labels: their metadata only.

        Args:
            kind: Which objects.
            namespace: Where; None: everywhere.
            labels: Which of them.
            version: The resourceVersion to go on from; empty: begin with all there are.
            seconds: When the API server ends the watch.
            grace_seconds: How much later a silent connection counts as dead.

        Raises:
            RefusedByApiServer: The API server refused.
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
            timeout_s=seconds + grace_seconds,
        )
        if response.status >= _ERRORS_FROM:
            raise _refusal(response, await response.read())
        stream = response.response
        try:
            async for line in stream.content:
                yield json.loads(line)
        finally:
            stream.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        response = await self._send(method, path, query=query, body=body, content_type=content_type)
        text = await response.read()
        if response.status >= _ERRORS_FROM:
            raise _refusal(response, text)
        answer: Object = json.loads(text or b"{}")
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = REQUEST_TIMEOUT_S,
    ) -> Any:
        settings = self._connection.configuration
        headers = {"Accept": accept, "Content-Type": content_type}
        # Asked each time: a service account's token is renewed on disk within the hour.
        for setting in (await settings.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        found = {key: value for key, value in (query or {}).items() if value}
        address = f"{settings.host}{path}" + (f"?{urlencode(found)}" if found else "")
        return await self._connection.rest_client.request(  # type: ignore[no-untyped-call]
            method, address, headers=headers, body=body, _request_timeout=timeout_s
        )


def _refusal(response: Any, text: bytes) -> RefusedByApiServer:
    """Return what an answer says; of an unknown path the API server says it in plain text."""
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = response.reason
    return RefusedByApiServer(response.status, message)


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    place, plural = PLACES[kind]
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{place}{inside}/{plural}" + (f"/{quote(name, safe='')}" if name else "")
