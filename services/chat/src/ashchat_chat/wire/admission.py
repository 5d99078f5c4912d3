"""Who may open a socket: origin, token or ticket, device, limits.

A client proves who it is in one of three ways: an access token in the subprotocols, as the Phoenix
client sends its `authToken`; a ticket of auth in the same place or in the parameter `ticket`; the
parameters of the original AshChat.
"""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from ashchat_chat.rooms.errors import NoSuchUserError
from ashchat_chat.rooms.ports import Profile
from ashchat_chat.users.online import OnlineSocket
from ashchat_chat.users.presence import Presence, TooManySocketsError
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire import limits
from ashchat_core import languages, origins
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.tokens import InvalidTokenError, TokenVerifier, device_hash, is_ticket

PATHS: Final = frozenset({"/socket/websocket", "/chat/socket/websocket"})
"""With the service's prefix as well; see core's `http`."""

SUBPROTOCOL: Final = "phoenix"
TOKEN_SUBPROTOCOL: Final = "base64url.bearer.phx."  # noqa: S105 (a prefix)


class SocketRefusedError(Exception):
    """A socket is not opened."""

    def __init__(self, status: int, reason: str, *, retry_after: int = 2) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        """Seconds after which it may be opened, if the status is temporary."""


@dataclass(frozen=True, slots=True)
class SocketRequest:
    """A request to open a socket."""

    path: str
    parameters: Mapping[str, str]
    origin: str | None
    host: str
    subprotocols: Sequence[str]
    peer: str | None = None
    """The address that the connection comes from."""
    forwarded: Sequence[str] = ()
    """The values of X-Forwarded-For, one per header line."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Whose socket is opened."""

    user: str
    sid: str
    """The sign-in that the token is of."""
    epoch: int
    language: str
    expires_at: datetime
    online: OnlineSocket = field(default_factory=OnlineSocket.new)


@dataclass(frozen=True, slots=True)
class _Identity:
    user: str
    sid: str
    epoch: int
    expires_at: datetime


class UsedTickets(Protocol):
    """Remembers tickets, on all pods. May raise StoreUnavailableError."""

    async def use(self, ticket_id: str) -> bool:
        """Return whether this is the ticket's first use."""
        ...


class ProfileReader(Protocol):
    """Where a user's language is found. May raise StoreUnavailableError."""

    async def profile(self, user_id: str) -> Profile:
        """Return a profile. Raises NoSuchUserError."""
        ...


class Admission:
    """Decides which sockets are opened, and counts those of each user."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        revocations: Revocations,
        tickets: UsedTickets,
        profiles: ProfileReader,
        presence: Presence,
        requests: NetworkRequests,
        stopping: Callable[[], bool],
        allowed_origins: Collection[origins.Origin] = (),
    ) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._tickets = tickets
        self._profiles = profiles
        self._presence = presence
        self._requests = requests
        self._stopping = stopping
        self._origins = allowed_origins
        self._sockets: dict[str, int] = {}
        """Open sockets of each user, and those that are being opened."""

    async def admit(self, request: SocketRequest) -> Admitted:
        """Return whose socket to open; the caller calls `released` when it has ended.

        Raises:
            SocketRefusedError: The socket must not be opened.
            StoreUnavailableError: A ticket or a profile could not be read.
        """
        if wait := await self._requests.charge(request.peer, request.forwarded):
            raise SocketRefusedError(429, "too_many_requests", retry_after=wait)
        if request.path not in PATHS:
            raise SocketRefusedError(404, "not_found")
        if not origins.allowed(request.origin, request.host, self._origins):
            raise SocketRefusedError(403, "origin_not_allowed")
        if self._stopping():
            raise SocketRefusedError(503, "restarting")
        if not request.parameters.get("vsn", "2.0.0").startswith("2."):
            raise SocketRefusedError(400, "unsupported_vsn")
        identity, ticket_id = self._identify(request)
        # Counted before anything is awaited: simultaneous requests are as many sockets.
        if self._sockets.get(identity.user, 0) >= limits.SOCKETS_PER_USER:
            raise SocketRefusedError(429, "too_many_sockets")
        self._sockets[identity.user] = self._sockets.get(identity.user, 0) + 1
        try:
            await self._use(ticket_id)
            online = await self._count(identity.user, request.parameters)
            language = await self._language(
                identity.user, request.parameters.get("preferred_language")
            )
        except BaseException:
            self.released(identity.user)
            raise
        return Admitted(
            identity.user, identity.sid, identity.epoch, language, identity.expires_at, online
        )

    async def _count(self, user: str, parameters: Mapping[str, str]) -> OnlineSocket:
        """Count the socket on all pods; if it is not opened, the count expires."""
        visible = parameters.get("invisible") != "true"
        try:
            return await self._presence.admit(user, limits.SOCKETS_PER_USER, visible=visible)
        except TooManySocketsError:
            raise SocketRefusedError(429, "too_many_sockets") from None

    async def _use(self, ticket_id: str) -> None:
        if ticket_id and not await self._tickets.use(ticket_id):
            raise SocketRefusedError(401, "ticket_used")

    def released(self, user: str) -> None:
        """Count one socket less."""
        self._sockets[user] -= 1
        if not self._sockets[user]:
            del self._sockets[user]

    def _identify(self, request: SocketRequest) -> tuple[_Identity, str]:
        """Return whose socket it is, and the id of the ticket if there is one."""
        token = _bearer(request.subprotocols) or request.parameters.get("token", "")
        ticket = request.parameters.get("ticket", "")
        if not token and not ticket:
            raise SocketRefusedError(401, "missing_token")
        try:
            if ticket or is_ticket(token):
                found = self._verifier.verify_ticket(ticket or token)
                identity = _Identity(found.user_id, found.session_id, found.epoch, found.expires_at)
                self._check_session(identity)
                return identity, found.id
            access = self._verifier.verify(token)
        except InvalidTokenError as error:
            raise SocketRefusedError(401, f"token_{error.reason}") from None
        identity = _Identity(access.user_id, access.session_id, access.epoch, access.expires_at)
        self._check_session(identity)
        device = request.parameters.get("device_unique_id", "")
        if not device:
            raise SocketRefusedError(400, "missing_device_token")
        if device_hash(device) != access.device_hash:
            raise SocketRefusedError(401, "device_mismatch")
        return identity, ""

    def _check_session(self, identity: _Identity) -> None:
        if self._revocations.revoked(
            user=identity.user, session=identity.sid, epoch=identity.epoch
        ):
            raise SocketRefusedError(401, "session_revoked")

    async def _language(self, user: str, requested: str | None) -> str:
        tag = languages.canonical(requested)
        if tag != languages.UNKNOWN:
            return tag
        try:
            return (await self._profiles.profile(user)).language
        except NoSuchUserError:
            return languages.UNKNOWN


def _bearer(subprotocols: Sequence[str]) -> str:
    """Return the token in the subprotocols (https://hexdocs.pm/phoenix/Phoenix.Endpoint.html)."""
    for one in subprotocols:
        if one.startswith(TOKEN_SUBPROTOCOL):
            encoded = one.removeprefix(TOKEN_SUBPROTOCOL)
            padded = encoded + "=" * (-len(encoded) % 4)
            try:
                return base64.urlsafe_b64decode(padded).decode()
            except (binascii.Error, ValueError):
                raise SocketRefusedError(401, "token_malformed") from None
    return ""
