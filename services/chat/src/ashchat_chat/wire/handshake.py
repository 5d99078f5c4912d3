"""Opening a socket: from the request that uvicorn has read to an open connection, or a refusal.

uvicorn reads every request, and gives one that asks for a WebSocket to this protocol
(https://uvicorn.dev/settings/, `--ws`). Sockets therefore share the port of the HTTP API.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

import structlog
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from ashchat_chat import metrics
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.wire.admission import SUBPROTOCOL, SocketRefusedError, SocketRequest
from ashchat_chat.wire.connection import Connection
from ashchat_chat.wire.flusher import Flusher

Accept = Callable[[SocketRequest], Awaitable[Callable[[Connection], None]]]
"""Returns what starts the session on the open connection; or raises."""

_PARAMETERS_MAX: Final = 100
_RETRY: Final = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class Handshake(asyncio.Protocol):
    """A connection whose client has asked for a WebSocket."""

    def __init__(self, accept: Accept, flusher: Flusher, open_connections: set[Any]) -> None:
        """Wait for the request.

        Args:
            accept: Decides whether the socket is opened.
            flusher: Writes to the open sockets.
            open_connections: The server waits until it is empty before it ends.
        """
        self._accept = accept
        self._flusher = flusher
        self._open = open_connections
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin (uvicorn calls this)."""
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)
        # The client must wait for the response.
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Read the request (uvicorn calls this)."""
        if self._task is None and self._transport is not None:
            self._task = asyncio.create_task(self._answer(self._transport, data))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up: the client has gone."""
        del exc
        self._open.discard(self)
        if self._task is not None:
            self._task.cancel()

    def shutdown(self) -> None:
        """Give up: the process ends (uvicorn calls this)."""
        if self._transport is not None:
            self._transport.close()

    async def _answer(self, transport: asyncio.Transport, data: bytes) -> None:
        protocol = ServerProtocol(select_subprotocol=_select_subprotocol)
        protocol.receive_data(data)
        request = next(
            (one for one in protocol.events_received() if isinstance(one, Request)), None
        )
        try:
            if request is None:
                raise SocketRefusedError(400, "invalid_handshake")  # noqa: TRY301
            response = protocol.accept(request)
            if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
                raise SocketRefusedError(400, "invalid_handshake")  # noqa: TRY301
            start = await self._accept(_socket_request(request, transport))
        except SocketRefusedError as refused:
            self._refuse(transport, refused.status, refused.reason, refused.retry_after)
        except StoreUnavailableError:
            self._refuse(transport, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable")
        except Exception:  # noqa: BLE001 (logged whole)
            structlog.get_logger("socket").exception("a handshake failed")
            self._refuse(transport, HTTPStatus.INTERNAL_SERVER_ERROR, "internal")
        else:
            self._open_socket(transport, response.serialize(), start)

    def _open_socket(
        self, transport: asyncio.Transport, response: bytes, start: Callable[[Connection], None]
    ) -> None:
        self._open.discard(self)
        connection = Connection(transport, self._flusher, self._open)
        transport.set_protocol(connection)
        transport.write(response)
        start(connection)
        transport.resume_reading()

    def _refuse(
        self, transport: asyncio.Transport, status: int, reason: str, retry_after: int = 2
    ) -> None:
        metrics.REFUSED.labels(reason).inc()
        structlog.get_logger("socket").info("a socket was refused", status=status, reason=reason)
        transport.write(refusal(status, reason, retry_after))
        transport.close()


def refusal(status: int, reason: str, retry_after: int) -> bytes:
    """Return the whole HTTP response to a socket that is not opened."""
    body = json.dumps({"error": "the socket was refused", "reason": reason, "details": None})
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Connection: close",
    ]
    if status in _RETRY:
        head.append(f"Retry-After: {retry_after}")
    return "\r\n".join([*head, "", body]).encode()


def _socket_request(request: Request, transport: asyncio.Transport) -> SocketRequest:
    target = urlsplit(request.path)
    peer: tuple[Any, ...] = transport.get_extra_info("peername") or (None,)
    headers = request.headers
    return SocketRequest(
        path=target.path,
        parameters=dict(parse_qsl(target.query, max_num_fields=_PARAMETERS_MAX)),
        # A header that is there twice is a list, which is no origin.
        origin=", ".join(headers.get_all("Origin")) or None,
        host=", ".join(headers.get_all("Host")),
        subprotocols=_subprotocols(headers.get_all("Sec-WebSocket-Protocol")),
        peer=peer[0],
        forwarded=headers.get_all("X-Forwarded-For"),
    )


def _subprotocols(headers: list[str]) -> list[str]:
    try:
        return [one for header in headers for one in parse_subprotocol(header)]
    except InvalidHeader:
        raise SocketRefusedError(400, "invalid_handshake") from None


def _select_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Return Phoenix' subprotocol if the client offers it: browsers need one of their offers."""
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None
