"""The API server, reached by the caller's kubeconfig; plain JSON in and out."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import client, config

from ashchat_cli.faults import CliError, Exit
from ashchat_cli.objects import Object

TIMEOUT_SECONDS: Final = 20.0
"""Seconds for one request."""

_NOT_FOUND: Final = 404
_FORBIDDEN: Final = frozenset({401, 403})
_ERRORS_FROM: Final = 400

PLACES: Final[Mapping[str, str]] = {
    "pods": "/api/v1",
    "secrets": "/api/v1",
    "persistentvolumeclaims": "/api/v1",
    "deployments": "/apis/apps/v1",
    "networkpolicies": "/apis/networking.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "ashchats": "/apis/ashchat.dev/v1alpha1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
}
"""Plural → the path of its API."""


class ForbiddenError(CliError):
    """A permission is missing; callers continue without if it is not essential."""

    def __init__(self, message: str) -> None:
        super().__init__(Exit.REFUSED, message)


@dataclass(frozen=True, slots=True)
class Where:
    """The cluster and namespace, as far as the command line names them."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    all_namespaces: bool = False


class Cluster:
    """A connection to the API server. An asynchronous context manager."""

    def __init__(self, connection: client.ApiClient, namespace: str) -> None:
        self._connection = connection
        self.namespace = namespace
        """The namespace to use if none is named."""
        self.server_date = ""
        """The API server's clock at its last response (RFC 9110, section 6.6.1)."""

    @classmethod
    async def connect(cls, where: Where) -> Self:
        """Connect with the kubeconfig.

        Raises:
            CliError: There is none, or it has no such context.
        """
        settings = client.Configuration()
        file, context = where.kubeconfig or None, where.context or None
        try:
            contexts, current = config.list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=file, context=context, client_configuration=settings
            )
        except (config.ConfigException, OSError) as error:
            raise CliError(Exit.USAGE, f"the kubeconfig cannot be used: {error}") from None
        settings.retries = 0
        named = {each["name"]: each["context"] for each in contexts}
        chosen = named.get(context or current["name"], {})
        return cls(
            client.ApiClient(settings), where.namespace or chosen.get("namespace", "default")
        )

    async def __aenter__(self) -> Self:
        """Return the connection itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._connection.close()  # type: ignore[no-untyped-call]

    async def find(self, plural: str, namespace: str | None, name: str) -> Object | None:
        """Return an object; None if it does not exist.

        Raises:
            CliError: The API server does not answer, or refuses.
        """
        try:
            return await self._request("GET", path(plural, namespace, name))
        except CliError as error:
            if error.code is Exit.NOT_FOUND:
                return None
            raise

    async def list(
        self, plural: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return the objects of a kind with these labels; namespace None: everywhere.

        Raises:
            CliError: The API server does not answer or refuses; NOT_FOUND: unknown kind.
        """
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        query = {"labelSelector": selector} if selector else {}
        items: list[Object] = (await self._request("GET", path(plural, namespace), query))["items"]
        return items

    async def annotate(
        self, plural: str, namespace: str, name: str, annotations: Mapping[str, str | None]
    ) -> Object:
        """Set annotations; None removes one.

        Raises:
            CliError: The API server does not answer, or refuses.
        """
        patch = {"metadata": {"annotations": dict(annotations)}}
        return await self._request("PATCH", path(plural, namespace, name), body=patch)

    async def metrics(self, namespace: str, pod: str, port: int) -> str:
        """Return a pod's metrics, through the API server's proxy.

        Raises:
            CliError: The pod does not answer, or the right is missing.
        """
        place = path("pods", namespace, f"{pod}:{port}")
        return (await self._send("GET", f"{place}/proxy/metrics"))[1]

    @asynccontextmanager
    async def websocket(
        self, place: str, query: Mapping[str, str], protocol: str
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a websocket to a streaming subresource.

        Raises:
            CliError: The API server does not answer, or refuses.
        """
        settings = self._connection.configuration
        rest = self._connection.rest_client
        if rest.pool_manager is None:
            rest.pool_manager = rest._create_pool_manager()  # noqa: SLF001 (as its ws_client does)
        try:
            async with rest.pool_manager.ws_connect(
                f"{settings.host}{place}?{urlencode(query)}",
                headers=await self._headers(),
                protocols=(protocol,),
                proxy=settings.proxy,
                max_msg_size=0,
            ) as found:
                yield found
        except aiohttp.WSServerHandshakeError as error:
            raise _fault(error.status, f"{place}: {error.message}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise CliError(Exit.UNREACHABLE, f"{place}: {error}") from None

    async def _headers(self) -> dict[str, str]:
        # On every request: the token of a plugin is renewed when it expires.
        settings = await self._connection.configuration.auth_settings()
        return {setting["key"]: setting["value"] for setting in settings.values()}

    async def _request(
        self, method: str, place: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Object:
        status, text = await self._send(method, place, query, body)
        answer: Object = json.loads(text or "{}")
        if status >= _ERRORS_FROM:
            raise _fault(status, answer.get("message", text))
        return answer

    async def _send(
        self, method: str, place: str, query: Mapping[str, str] | None = None, body: Any = None
    ) -> tuple[int, str]:
        settings = self._connection.configuration
        headers = {**await self._headers(), "Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json"
        address = f"{settings.host}{place}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = await self._connection.rest_client.request(  # type: ignore[no-untyped-call]
                method, address, headers=headers, body=body, _request_timeout=TIMEOUT_SECONDS
            )
            text = (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:  # noqa: UP041 (3.11+)
            says = str(error) or type(error).__name__
            raise CliError(Exit.UNREACHABLE, f"no answer from {settings.host}: {says}") from None
        self.server_date = response.headers.get("Date", "")
        return response.status, text


def path(plural: str, namespace: str | None, name: str | None = None) -> str:
    """Return the API path of a kind, or of one object; namespace None: not in one."""
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{PLACES[plural]}{inside}/{plural}" + (f"/{quote(name, safe=':')}" if name else "")


def _fault(status: int, message: str) -> CliError:
    if status == _NOT_FOUND:
        return CliError(Exit.NOT_FOUND, message)
    if status in _FORBIDDEN:
        return ForbiddenError(message)
    return CliError(Exit.REFUSED, message)
