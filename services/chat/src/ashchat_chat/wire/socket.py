"""The Phoenix socket: connecting, joining topics, and what clients send.

Thin: frames in, calls of the rules, frames out. docs/reference/protocol.md has topics and events.
"""

import asyncio
import contextlib
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import FastAPI, WebSocket
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from ashchat_chat import metrics
from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.errors import NoSuchRoomError, NoSuchUserError, ReceiverDeletedError
from ashchat_chat.rooms.ports import Push, StoreUnavailableError, Subscriber
from ashchat_chat.text import is_storable
from ashchat_chat.users.notifications import Inbox
from ashchat_chat.users.presence import LOBBY, Presence, Typing
from ashchat_chat.users.profiles import Profiles
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire import limits, phoenix
from ashchat_chat.wire.connection import Close, Connection
from ashchat_chat.wire.limits import Bucket
from ashchat_chat.wire.phoenix import Frame, MalformedFrameError, Payload
from ashchat_core import languages, origins
from ashchat_core.messages import TEXT_MAX_CHARS
from ashchat_core.tokens import AccessToken, InvalidTokenError, TokenVerifier, device_hash

SWEEP_SECONDS = 10.0
FAREWELL_SECONDS = 3.0
"""Over how long a stopping pod closes its sockets, so that they do not come back at once."""

PROTOCOLS = (1, 2)
UNAVAILABLE: Payload = {"reason": "unavailable", "retry_after_ms": 1_000}


class RequestRejectedError(Exception):
    """A frame that is answered with an error."""

    def __init__(self, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.response: Payload = {"reason": reason, **more}


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A socket's place in one topic: what the rules know as a subscriber."""

    user: str
    language: str
    protocol: int
    connection: Connection
    join_ref: str | None

    def send(self, push: Push) -> None:
        """Queue a frame."""
        self.connection.send(phoenix.text_of(push), push.event)

    async def drained(self) -> None:
        """Wait until little is queued."""
        await self.connection.drained()


@dataclass(slots=True, eq=False)
class Session:
    """One open socket."""

    user: str
    sid: str
    """The sign-in that its token is of."""
    epoch: int
    language: str
    connection: Connection
    frames: Bucket
    seen_at: float
    seats: dict[str, Seat] = field(default_factory=dict)


class Sockets:
    """All open sockets of this pod."""

    def __init__(
        self,
        *,
        rooms: Rooms,
        inbox: Inbox,
        presence: Presence,
        typing: Typing,
        profiles: Profiles,
        verifier: TokenVerifier,
        revocations: Revocations,
        pod: str,
        allowed_origins: Collection[origins.Origin] = (),
    ) -> None:
        self._origins = allowed_origins
        self._rooms = rooms
        self._inbox = inbox
        self._presence = presence
        self._typing = typing
        self._profiles = profiles
        self._verifier = verifier
        self._revocations = revocations
        revocations.call_on_new(self.close_revoked)
        self._pod = pod
        self._sessions: set[Session] = set()
        self._users: dict[str, int] = {}
        self._sending: dict[str, Bucket] = {}
        self._acking: dict[str, Bucket] = {}
        self._stopping = False
        self._log = structlog.get_logger("socket")

    # The life of a socket

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one socket until it ends."""
        params = websocket.query_params
        try:
            self._check_origin(websocket)
            token = self._admit(
                params.get("token", ""),
                params.get("device_unique_id", ""),
                params.get("vsn", "2.0.0"),
            )
            language = await self._language(token.user_id, params.get("preferred_language"))
        except RequestRejectedError as refused:
            reason = refused.response["reason"]
            metrics.REFUSED.labels(reason).inc()
            await _deny(websocket, refused.response.get("status", 401), reason)
            return
        except StoreUnavailableError:
            metrics.REFUSED.labels("unavailable").inc()
            await _deny(websocket, 503, "unavailable")
            return
        await websocket.accept()

        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        died = False

        def dead() -> None:
            nonlocal died
            died = True
            if task is not None:
                task.cancel()

        connection = Connection(websocket, dead=dead)
        session = Session(
            user=token.user_id,
            sid=token.session_id,
            epoch=token.epoch,
            language=language,
            connection=connection,
            frames=Bucket(limits.FRAMES, loop.time()),
            seen_at=loop.time(),
        )
        left = (token.expires_at - datetime.now(UTC)).total_seconds()
        expiry = loop.call_later(
            max(0.0, left), connection.close, Close.TOKEN_EXPIRED, "token_expired"
        )
        self._opened(session)
        # It may have ended since it was admitted.
        self._close_if_revoked(session)
        try:
            await self._read(websocket, session)
        except WebSocketDisconnect:
            pass
        except asyncio.CancelledError:
            if not died:
                raise
        finally:
            expiry.cancel()
            self._closed(session)
            await connection.stop()

    def close_revoked(self) -> None:
        """Close the sockets of sessions that are over."""
        for session in list(self._sessions):
            self._close_if_revoked(session)

    def _close_if_revoked(self, session: Session) -> None:
        if self._revocations.revoked(user=session.user, session=session.sid, epoch=session.epoch):
            session.connection.close(Close.REVOKED, "session revoked")

    async def sweep(self) -> None:
        """Close the silent sockets; until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for session in list(self._sessions):
                if now - session.seen_at > limits.SILENCE_SECONDS:
                    session.connection.close(Close.SILENT, "no heartbeat")
            for buckets in (self._sending, self._acking):
                for user in [one for one, bucket in buckets.items() if bucket.full(now)]:
                    del buckets[user]

    async def close_all(self) -> None:
        """Close every socket with 1012, spread over a few seconds; take no new ones.

        Takes at most twice FAREWELL_SECONDS. That nobody is here any more is said meanwhile,
        and given up with it: without Redis it would use up the time that messages need, and
        ends by itself there.
        """
        self._stopping = True
        leaving = asyncio.create_task(self._presence.leave())
        sessions = list(self._sessions)
        random.shuffle(sessions)
        waves = 10
        for wave in range(waves):
            for session in sessions[wave::waves]:
                session.connection.close(Close.RESTART, "restart; resume with since")
            if len(sessions) > waves:
                await asyncio.sleep(FAREWELL_SECONDS / waves)
        deadline = asyncio.get_running_loop().time() + FAREWELL_SECONDS
        while self._sessions and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(leaving, deadline - asyncio.get_running_loop().time())

    def _check_origin(self, websocket: WebSocket) -> None:
        headers = websocket.headers
        if not origins.allowed(headers.get("origin"), headers.get("host", ""), self._origins):
            raise RequestRejectedError("origin_not_allowed", status=403)

    def _admit(self, token: str, device: str, vsn: str) -> AccessToken:
        if self._stopping:
            raise RequestRejectedError("restarting", status=503)
        if not vsn.startswith("2."):
            raise RequestRejectedError("unsupported_vsn", status=400)
        if not token:
            raise RequestRejectedError("missing_token")
        try:
            access = self._verifier.verify(token)
        except InvalidTokenError as error:
            raise RequestRejectedError(f"token_{error.reason}") from None
        if self._revocations.revoked(
            user=access.user_id, session=access.session_id, epoch=access.epoch
        ):
            raise RequestRejectedError("session_revoked")
        if not device:
            raise RequestRejectedError("missing_device_token", status=400)
        if device_hash(device) != access.device_hash:
            raise RequestRejectedError("device_mismatch")
        if self._users.get(access.user_id, 0) >= limits.SOCKETS_PER_USER:
            raise RequestRejectedError("too_many_sockets", status=429)
        return access

    async def _language(self, user: str, asked: str | None) -> str:
        tag = languages.canonical(asked)
        if tag != languages.UNKNOWN:
            return tag
        try:
            return (await self._profiles.profile(user)).language
        except NoSuchUserError:
            return languages.UNKNOWN

    def _opened(self, session: Session) -> None:
        self._sessions.add(session)
        self._users[session.user] = self._users.get(session.user, 0) + 1
        metrics.SOCKETS.set(len(self._sessions))
        self._presence.opened(session.user)

    def _closed(self, session: Session) -> None:
        self._sessions.discard(session)
        self._users[session.user] -= 1
        if not self._users[session.user]:
            del self._users[session.user]
        metrics.SOCKETS.set(len(self._sessions))
        for topic in list(session.seats):
            self._vacate(session, topic)
        self._presence.closed(session.user)

    # Frames

    async def _read(self, websocket: WebSocket, session: Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            session.seen_at = loop.time()
            if session.connection.closing is not None:
                continue
            if session.frames.take(session.seen_at):
                session.connection.close(Close.TOO_MANY_FRAMES, "too_many_frames")
                continue
            try:
                # Binary frames come without a text, and are not understood.
                frame = phoenix.decode(message.get("text") or "")
            except MalformedFrameError as error:
                session.connection.close(Close.BAD_FRAME, str(error))
                continue
            await self._handle(session, frame)

    async def _handle(self, session: Session, frame: Frame) -> None:
        try:
            response = await self._answer(session, frame)
        except RequestRejectedError as refused:
            self._reply(session, frame, "error", refused.response)
        except NoSuchRoomError:
            self._reply(session, frame, "error", {"reason": "chat_not_found"})
        except ReceiverDeletedError:
            self._reply(session, frame, "error", {"reason": "receiver_deleted"})
        except StoreUnavailableError:
            self._reply(session, frame, "error", UNAVAILABLE)
        except Exception:  # noqa: BLE001 (logged whole)
            # One frame's defect must not end the socket.
            self._log.exception("a frame failed", frame_event=frame.event[:32])
            self._reply(session, frame, "error", {"reason": "internal"})
        else:
            if response is not None:
                self._reply(session, frame, "ok", response)

    async def _answer(self, session: Session, frame: Frame) -> Payload | None:
        """Do what a frame asks; return the answer, None when none is due (any more)."""
        if frame.topic == phoenix.PHOENIX_TOPIC and frame.event == phoenix.HEARTBEAT:
            return {}
        if frame.event == phoenix.JOIN:
            await self._join(session, frame)
            return None
        seat = session.seats.get(frame.topic)
        if frame.event == phoenix.LEAVE:
            if seat is not None and frame.join_ref == seat.join_ref:
                self._vacate(session, frame.topic)
            return {}
        if seat is None or frame.join_ref != seat.join_ref:
            raise RequestRejectedError("not_joined")
        kind, _, room_id = frame.topic.partition(":")
        if kind != "chat":
            raise RequestRejectedError("unknown_event")
        match frame.event:
            case "send_message":
                await self._send_message(session, seat, frame, room_id)
                return None
            case "typing":
                # As the original: no answer.
                self._typing.said(
                    room_id, session.user, is_typing=frame.payload.get("is_typing") is True
                )
                return None
            case "ack":
                return await self._ack(session, room_id, frame.payload)
            case _:
                raise RequestRejectedError("unknown_event")

    async def _join(self, session: Session, frame: Frame) -> None:
        topic = frame.topic
        before = session.seats.get(topic)
        if before is not None:
            # As Phoenix does: a second join of a topic ends the first.
            self._vacate(session, topic)
            closed = phoenix.encode(before.join_ref, before.join_ref, topic, phoenix.CLOSE, {})
            session.connection.send(closed, phoenix.CLOSE)
        if len(session.seats) >= limits.TOPICS_PER_SOCKET:
            raise RequestRejectedError("too_many_topics")
        kind, _, rest = topic.partition(":")
        if topic == LOBBY:
            await self._join_lobby(session, frame)
        elif kind == "notifications":
            if rest != session.user:
                raise RequestRejectedError("forbidden")
            await self._join_notifications(session, frame)
        elif kind == "chat" and rest:
            await self._join_chat(session, frame, rest)
        else:
            raise RequestRejectedError("unknown_topic")

    async def _join_lobby(self, session: Session, frame: Frame) -> None:
        contacts = await self._profiles.contacts(session.user)
        seat = self._seat(session, frame, protocol=1)
        self._reply(session, frame, "ok", {})
        await self._presence.enter_lobby(seat, contacts)

    async def _join_notifications(self, session: Session, frame: Frame) -> None:
        seat = self._seat(session, frame, protocol=1)
        self._reply(session, frame, "ok", {})
        try:
            await self._inbox.attach(seat)
        except StoreUnavailableError:
            # Joined, and live; what is pending comes with the next join.
            self._log.info("the pending notifications could not be read")

    async def _join_chat(self, session: Session, frame: Frame, room_id: str) -> None:
        protocol = frame.payload.get("protocol", 1)
        since = frame.payload.get("since")
        if protocol not in PROTOCOLS or isinstance(protocol, bool):
            raise RequestRejectedError("unsupported_protocol", supported=list(PROTOCOLS))
        if protocol == 1:
            since = None
        elif since is not None and (
            not isinstance(since, int) or isinstance(since, bool) or since < 0
        ):
            raise RequestRejectedError("invalid_since")
        joined = await self._rooms.live.join(room_id, session.user, since)
        receiver = next((who for who in joined.members if who != session.user), "")
        seat = self._seat(session, frame, protocol=protocol)
        response: Payload = {}
        if protocol != 1:
            response = {
                "protocol": protocol,
                "pod": self._pod,
                "rev": joined.rev,
                "reset": joined.reset,
            }
        self._reply(session, frame, "ok", response)
        try:
            await self._rooms.live.attach(room_id, seat, joined.since)
        except StoreUnavailableError:
            # Joined by name only: end the topic, the client joins again with its `since`.
            self._vacate(session, frame.topic)
            ended = phoenix.encode(frame.join_ref, frame.join_ref, frame.topic, "phx_error", {})
            session.connection.send(ended, "phx_error")
            return
        with contextlib.suppress(StoreUnavailableError):
            await self._introduce(seat, frame.topic, receiver)

    async def _introduce(self, seat: Seat, topic: str, receiver: str) -> None:
        """Tell a socket who the other one is, and whether they are there."""
        with contextlib.suppress(NoSuchUserError):
            profile = await self._profiles.profile(receiver)
            seat.send(Push(topic, "receiver_info", profile.payload()))
        online = await self._presence.online(receiver)
        status = {"status": "online" if online else "offline"}
        seat.send(Push(topic, "receiver_online", status))

    async def _send_message(self, session: Session, seat: Seat, frame: Frame, room_id: str) -> None:
        text = frame.payload.get("content")
        client_id = frame.payload.get("mobile_ref_id")
        if not isinstance(text, str) or not text.strip():
            raise RequestRejectedError("invalid_message", field="content")
        if len(text) > TEXT_MAX_CHARS:
            raise RequestRejectedError("too_long", limit=TEXT_MAX_CHARS)
        if not isinstance(client_id, str) or not 1 <= len(client_id) <= limits.REF_MAX_CHARS:
            raise RequestRejectedError("invalid_message", field="mobile_ref_id")
        if not is_storable(text) or not is_storable(client_id):
            raise RequestRejectedError("invalid_message", field="content")
        _limit(self._sending, session.user, limits.MESSAGES)
        event, fresh = await self._rooms.appending.send(
            room_id, session.user, text=text, language=session.language, client_id=client_id
        )
        answer: Payload = {
            "chat_id": room_id,
            "mobile_ref_id": client_id,
            "message_id": event.message_id,
            "rev": event.rev,
            "duplicate": not fresh,
        }
        self._reply(session, frame, "ok", answer)
        if seat.protocol == 1:
            sent = {"mobile_ref_id": client_id, "status": "SENT", "chat_id": room_id}
            seat.send(Push(frame.topic, "message_sent", sent))

    async def _ack(self, session: Session, room_id: str, payload: Payload) -> Payload:
        rev = payload.get("rev")
        if not isinstance(rev, int) or isinstance(rev, bool) or rev < 1:
            raise RequestRejectedError("invalid_rev")
        _limit(self._acking, session.user, limits.ACKS)
        return {"up_to": await self._rooms.appending.acknowledge(room_id, session.user, rev)}

    def _seat(self, session: Session, frame: Frame, *, protocol: int) -> Seat:
        seat = Seat(session.user, session.language, protocol, session.connection, frame.join_ref)
        session.seats[frame.topic] = seat
        return seat

    def _vacate(self, session: Session, topic: str) -> None:
        seat: Subscriber | None = session.seats.pop(topic, None)
        if seat is None:
            return
        kind, _, rest = topic.partition(":")
        if topic == LOBBY:
            self._presence.leave_lobby(seat)
        elif kind == "notifications":
            self._inbox.detach(seat)
        else:
            self._rooms.live.detach(rest, seat)
            self._typing.said(rest, session.user, is_typing=False)

    def _reply(self, session: Session, frame: Frame, status: str, response: Payload) -> None:
        session.connection.send(phoenix.reply(frame, status, response), phoenix.REPLY)


def register(app: FastAPI, sockets: Sockets) -> None:
    """Give the sockets their route; with the service's prefix as well (see core's http)."""

    @app.websocket("/socket/websocket")
    async def socket(websocket: WebSocket) -> None:
        await sockets.serve(websocket)


def _limit(buckets: dict[str, Bucket], user: str, rate: limits.Rate) -> None:
    now = asyncio.get_running_loop().time()
    bucket = buckets.get(user)
    if bucket is None:
        bucket = buckets[user] = Bucket(rate, now)
    wait = bucket.take(now)
    if wait:
        raise RequestRejectedError("rate_limited", retry_after_ms=int(wait * 1000) + 1)


async def _deny(websocket: WebSocket, status: int, reason: str) -> None:
    headers = {"Retry-After": "2"} if status in {429, 503} else {}
    body = {"error": "the socket was refused", "reason": reason, "details": None}
    await websocket.send_denial_response(JSONResponse(body, status_code=status, headers=headers))
