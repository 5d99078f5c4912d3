"""What an open socket asks for, and what it is answered; docs/reference/protocol.md has all of it.

Thin: frames in, calls of the rules, frames out. Frames of a socket are answered in order, except
heartbeats, which are answered at once. A session has a task only while it works.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from ashchat_chat.pushes import MessageSent, Nothing
from ashchat_chat.rooms.errors import NoSuchRoomError, ReceiverDeletedError, RefusedError
from ashchat_chat.rooms.ports import Push, StoreUnavailableError
from ashchat_chat.users.presence import LOBBY
from ashchat_chat.wire import chat_events, limits, payloads, phoenix
from ashchat_chat.wire.admission import Admitted
from ashchat_chat.wire.connection import Close, Connection
from ashchat_chat.wire.introductions import introductions
from ashchat_chat.wire.limits import Bucket
from ashchat_chat.wire.payloads import UNAVAILABLE, RequestRejectedError
from ashchat_chat.wire.phoenix import Frame, MalformedFrameError, Payload, Reference
from ashchat_chat.wire.reasons import FrameReason
from ashchat_chat.wire.requests import ChatEvent, Joined2, VisibilitySet
from ashchat_chat.wire.rules import Rules


@dataclass(slots=True, eq=False)
class Seat:
    """A socket's place in one topic: what the rules know as a subscriber."""

    topic: str
    user: str
    language: str
    protocol: int
    session: "Session"
    join_ref: Reference
    left: bool = False
    serving: asyncio.Task[None] | None = None
    """Serves the seat from the log, or reads what it is sent first."""

    @property
    def gone(self) -> bool:
        """Whether it takes nothing more."""
        return self.left or self.session.connection.gone

    def send(self, push: Push) -> bool:
        """Queue a frame; return False if there is no room and it can be read again.

        After the seat was left it is dropped: nothing follows the answer to a leave, although a
        replay may just have read the log.
        """
        if self.left:
            return True
        frame = push.encoded or phoenix.frame_of(push)
        if self.protocol > 1:
            return self.session.connection.offer(frame)
        self.session.connection.insist(frame)
        return True

    def answer(self, push: Push) -> None:
        """Queue a frame that goes with an answer, unless the seat was left meanwhile."""
        if not self.left:
            self.session.connection.answer(phoenix.frame_of(push))

    def fell_behind(self, since: int) -> None:
        """Serve the seat from the log again, when it has room."""
        self.serving = asyncio.create_task(self.session.catch_up(self, since))

    def when_received(self, call: Callable[[], None]) -> None:
        """Call a function once the client has received everything that was sent so far."""
        self.session.connection.when_received(call)

    async def drained(self) -> None:
        """Wait until there is room."""
        await self.session.connection.drained()

    def end(self) -> None:
        """Leave the topic, because the user may not see it any more."""
        self.session.leave(self)


class Session:
    """One open socket."""

    __slots__ = (
        "_ended",
        "_frames",
        "_on_end",
        "_rules",
        "_waiting",
        "_working",
        "admitted",
        "connection",
        "expires_at",
        "online",
        "seats",
        "seen_at",
    )

    def __init__(
        self,
        rules: Rules,
        admitted: Admitted,
        connection: Connection,
        *,
        expires_at: float,
        on_end: Callable[["Session"], None],
    ) -> None:
        """Serve a connection until `expires_at`, on the event loop's clock.

        `on_end` is called once, when it has ended and its last frame is handled.
        """
        now = asyncio.get_running_loop().time()
        self._rules = rules
        self.admitted = admitted
        self.online = admitted.online
        """What other users' presence shows of this socket."""
        self.connection = connection
        self.expires_at = expires_at
        self.seen_at = now
        self.seats: dict[str, Seat] = {}
        self._on_end = on_end
        self._frames = Bucket(limits.FRAMES, now)
        self._waiting: deque[Frame] | None = None
        self._working: asyncio.Task[None] | None = None
        self._ended = False

    # Frames

    def received_text(self, text: str) -> None:
        """Answer a frame, or close the socket."""
        try:
            frame = phoenix.decode(text)
        except MalformedFrameError as error:
            self.connection.close(Close.BAD_FRAME, str(error))
            return
        self._received(frame)

    def received_binary(self, data: bytes) -> None:
        """Refuse a binary frame: its payload has no meaning here."""
        try:
            frame = phoenix.decode_binary(data)
        except MalformedFrameError as error:
            self.connection.close(Close.BAD_FRAME, str(error))
            return
        if self._counted():
            self._reply(frame, "error", {"reason": FrameReason.BINARY_NOT_SUPPORTED})

    def ended(self) -> None:
        """Leave every topic, after the frames that came before the end."""
        self._ended = True
        if self._working is None:
            self._finish()

    def _finish(self) -> None:
        for topic in list(self.seats):
            self._vacate(topic)
        self._on_end(self)

    def _counted(self) -> bool:
        self.seen_at = asyncio.get_running_loop().time()
        if self._frames.take(self.seen_at):
            self.connection.close(Close.TOO_MANY_FRAMES, "too_many_frames")
            return False
        return True

    def _received(self, frame: Frame) -> None:
        if not self._counted():
            return
        if frame.topic == phoenix.PHOENIX_TOPIC and frame.event == phoenix.HEARTBEAT:
            self._reply(frame, "ok", {})
            return
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(frame)
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        elif len(self._waiting) >= limits.FRAMES_WAITING:
            self.connection.hold_reading()

    async def _work(self) -> None:
        """Answer the frames that wait; ends when there are none."""
        try:
            while self._waiting:
                await self._handle(self._waiting.popleft())
                if len(self._waiting) < limits.FRAMES_WAITING:
                    self.connection.resume_reading()
        finally:
            self._waiting = self._working = None
            if self._ended:
                self._finish()

    async def _handle(self, frame: Frame) -> None:
        try:
            response = await self._answer(frame)
        except RequestRejectedError as refused:
            self._reply(frame, "error", refused.response)
        except NoSuchRoomError:
            self._reply(frame, "error", {"reason": FrameReason.CHAT_NOT_FOUND})
        except RefusedError as refused:
            self._reply(frame, "error", {"reason": refused.reason, **refused.details})
        except ReceiverDeletedError:
            self._reply(frame, "error", {"reason": FrameReason.RECEIVER_DELETED})
        except StoreUnavailableError:
            self._reply(frame, "error", UNAVAILABLE)
        except Exception:
            # One frame's defect must not end the socket.
            log = structlog.get_logger("socket")
            log.exception("a frame failed", frame_event=frame.event[:32])
            self._reply(frame, "error", {"reason": FrameReason.INTERNAL})
        else:
            if response is not None:
                self._reply(frame, "ok", response)

    async def _answer(self, frame: Frame) -> Mapping[str, Any] | None:
        """Do what a frame asks; return the answer, None when none is due (any more)."""
        seat = self.seats.get(frame.topic)
        if frame.event == phoenix.LEAVE:
            if seat is not None and frame.join_ref in {seat.join_ref, None}:
                self._vacate(frame.topic)
            return {}
        if frame.payload is None:
            raise RequestRejectedError(FrameReason.INVALID_PAYLOAD)
        if frame.event == phoenix.JOIN:
            await self._join(frame, frame.payload)
            return None
        # Without a reference it is for the only join that is possible: the present one.
        if seat is None or frame.join_ref not in {seat.join_ref, None}:
            raise RequestRejectedError(FrameReason.NOT_JOINED)
        return await self._answer_event(seat, frame, frame.payload)

    async def _answer_event(
        self, seat: Seat, frame: Frame, payload: Payload
    ) -> Mapping[str, Any] | None:
        """Do what an event of a joined topic asks."""
        kind, _, room_id = frame.topic.partition(":")
        if kind == "chat":
            return await self._answer_chat(seat, frame, payload, room_id)
        if frame.topic == LOBBY and frame.event == "visibility":
            return self._set_visibility(payload)
        raise RequestRejectedError(FrameReason.UNKNOWN_EVENT)

    async def _answer_chat(
        self, seat: Seat, frame: Frame, payload: Payload, room_id: str
    ) -> Mapping[str, Any] | None:
        who = self.admitted
        match payloads.chat_event(frame.event):
            case ChatEvent.SEND_MESSAGE:
                answer = await chat_events.send_message(self._rules, who, room_id, payload)
                self._reply(frame, "ok", answer)
                if seat.protocol == 1:
                    sent: MessageSent = {
                        "mobile_ref_id": answer["mobile_ref_id"],
                        "chat_id": answer["chat_id"],
                        "status": "SENT",
                    }
                    seat.answer(Push(frame.topic, "message_sent", sent))
                return None
            case ChatEvent.TYPING:
                # As the original: no answer.
                is_typing = payload.get("is_typing") is True
                self._rules.typing.said(room_id, self.admitted.user, is_typing=is_typing)
                return None
            case ChatEvent.ACK:
                return await chat_events.acknowledge(self._rules, who, room_id, payload)
            case change:
                return await chat_events.change_message(self._rules, who, room_id, change, payload)

    def _reply(self, frame: Frame, status: str, response: Mapping[str, Any]) -> None:
        seat = self.seats.get(frame.topic)
        join_ref = seat.join_ref if seat is not None else None
        self.connection.answer(phoenix.reply(frame, status, response, join_ref=join_ref))

    # Topics

    async def _join(self, frame: Frame, payload: Payload) -> None:
        topic = frame.topic
        before = self.seats.get(topic)
        if before is not None:
            # As Phoenix does: a second join of a topic ends the first.
            self._vacate(topic)
            self._end_topic(before, phoenix.CLOSE)
        if len(self.seats) >= limits.TOPICS_PER_SOCKET:
            raise RequestRejectedError(FrameReason.TOO_MANY_TOPICS)
        kind, _, rest = topic.partition(":")
        if topic == LOBBY:
            contacts = await self._rules.profiles.contacts(self.admitted.user)
            seat = self._seat(frame, protocol=1)
            self._reply(frame, "ok", {})
            await self._rules.presence.enter_lobby(seat, contacts)
        elif kind == "notifications":
            if rest != self.admitted.user:
                raise RequestRejectedError(FrameReason.FORBIDDEN)
            seat = self._seat(frame, protocol=1)
            self._reply(frame, "ok", {})
            seat.serving = asyncio.create_task(self._show_notifications(seat))
        elif kind == "chat" and rest:
            async with self._rules.joining:
                await self._join_chat(frame, payload, rest)
        else:
            raise RequestRejectedError(FrameReason.UNKNOWN_TOPIC)

    async def _show_notifications(self, seat: Seat) -> None:
        try:
            await self._rules.inbox.attach(seat)
        except StoreUnavailableError:
            # Joined, and live; what is pending comes with the next join.
            structlog.get_logger("socket").info("the pending notifications could not be read")
        finally:
            seat.serving = None

    async def _join_chat(self, frame: Frame, payload: Payload, room_id: str) -> None:
        protocol, since = payloads.join_of_chat(payload)
        joined = await self._rules.rooms.live.join(room_id, self.admitted.user, since)
        seat = self._seat(frame, protocol=protocol)
        response: Joined2 | Nothing = {}
        if protocol != 1:
            response = {
                "protocol": 2,
                "pod": self._rules.pod,
                "rev": joined.rev,
                "reset": joined.reset,
                "n": joined.view.n,
                "read_n": joined.read,
            }
        self._reply(frame, "ok", response)
        seat.fell_behind(joined.since)
        with contextlib.suppress(StoreUnavailableError):
            async for push in introductions(self._rules, joined.view, seat.user, protocol):
                seat.answer(push)

    async def catch_up(self, seat: Seat, since: int) -> None:
        """Serve a seat from the log, then live."""
        room_id = seat.topic.partition(":")[2]
        try:
            await self._rules.rooms.live.attach(room_id, seat, since)
        except (StoreUnavailableError, NoSuchRoomError):
            # Joined by name only: end the topic, the client joins again with its `since`.
            if self.seats.get(seat.topic) is seat:
                self._vacate(seat.topic)
                self._end_topic(seat, phoenix.ERROR)
        except Exception:  # noqa: BLE001 (logged whole)
            structlog.get_logger("socket").exception("a replay failed")
            self.connection.close(Close.RESTART, "resume with since")
        finally:
            seat.serving = None

    def _set_visibility(self, payload: Payload) -> VisibilitySet:
        visible = payloads.visibility(payload)
        user = self.admitted.user
        self.online = self._rules.presence.show(user, self.online, visible=visible)
        return {"visible": visible}

    def leave(self, seat: Seat) -> None:
        """End a topic, because the user may not see it any more."""
        if self.seats.get(seat.topic) is seat:
            self._vacate(seat.topic)
            self._end_topic(seat, phoenix.CLOSE)

    def _end_topic(self, seat: Seat, event: str) -> None:
        frame = phoenix.encode(seat.join_ref, seat.join_ref, seat.topic, event, {})
        self.connection.answer(frame)

    def _seat(self, frame: Frame, *, protocol: int) -> Seat:
        who = self.admitted
        seat = Seat(frame.topic, who.user, who.language, protocol, self, frame.join_ref)
        self.seats[frame.topic] = seat
        return seat

    def _vacate(self, topic: str) -> None:
        seat = self.seats.pop(topic, None)
        if seat is None:
            return
        seat.left = True
        kind, _, rest = topic.partition(":")
        if topic == LOBBY:
            self._rules.presence.leave_lobby(seat)
        elif kind == "notifications":
            self._rules.inbox.detach(seat)
        else:
            self._rules.rooms.live.detach(rest, seat)
            self._rules.typing.said(rest, self.admitted.user, is_typing=False)
