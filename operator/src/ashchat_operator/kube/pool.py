"""Connections to the API server, by the pod's service account or a kubeconfig."""

import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final, Self

import aiohttp
import kopf
from yarl import URL

TOKEN_SECONDS: Final = 60.0
"""How often a service account's token is read again: it is renewed on disk before it expires
(https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken)."""

READ_BUFFER: Final = 2**20
"""Bytes of the read buffer; a watch event, which is one line, may be twice as long."""


def login() -> kopf.ConnectionInfo:
    """Return the address of the API server and the credentials to use.

    In a pod the address is that of the environment, as in client-go, so no name is resolved.

    Raises:
        kopf.LoginError: There is neither a service account nor a kubeconfig.
        OSError: The kubeconfig, or a file that it names, cannot be read.
    """
    settings = kopf.OperatorSettings()
    inside = kopf.login_with_service_account(settings=settings)
    if inside is None:
        outside = kopf.login_with_kubeconfig(settings=settings)
        if outside is None:
            raise kopf.LoginError("there is neither a service account nor a kubeconfig")
        return outside
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if not host:
        return inside
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    return replace(inside, server=str(URL.build(scheme="https", host=host, port=port)))


class ConnectionPool:
    """A pool of connections to the API server. An asynchronous context manager."""

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        self._info = info
        self._server = info.server.rstrip("/")
        self._read_at = time.monotonic()
        self._session = aiohttp.ClientSession(
            # Unlimited: each watch occupies a connection, and a request must not wait for one.
            connector=aiohttp.TCPConnector(
                limit=0, ssl=info.as_ssl_context() if self._server.startswith("https:") else False
            ),
            # The API server is nearby: compression would cost more than it saves.
            headers={"Accept-Encoding": "identity"},
            read_bufsize=READ_BUFFER,
        )

    async def __aenter__(self) -> Self:
        """Return the connection itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        body: bytes | None,
        timeout_seconds: float,
    ) -> aiohttp.ClientResponse:
        """Send a request; the caller reads or closes the response.

        Args:
            method: The HTTP method.
            path: The path and query, quoted.
            headers: Headers in addition to the credentials.
            body: The body.
            timeout_seconds: Seconds, including reading the response.

        Raises:
            aiohttp.ClientError, TimeoutError, OSError: The API server does not respond.
        """
        return await self._session.request(
            method,
            URL(self._server + path, encoded=True),
            headers={**headers, **self._who()},
            data=body,
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            allow_redirects=False,
        )

    def _who(self) -> dict[str, str]:
        if self._info.token and time.monotonic() - self._read_at > TOKEN_SECONDS:
            self._read_at = time.monotonic()
            with suppress(kopf.LoginError, OSError):  # the previous token works, or is refused
                self._info = login()
        return self._info.as_http_headers()
