"""What the tests of the socket stand on: rules that note what is asked, and open sockets."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.errors import (
    NoSuchRoomError,
    NoSuchUserError,
    Reason,
    ReceiverDeletedError,
    RefusedError,
)
from ashchat_chat.rooms.events import Edited, Sent
from ashchat_chat.rooms.live import Joined
from ashchat_chat.rooms.ports import Availability, Position, Profile, StoreUnavailableError
from ashchat_chat.rooms.views import Member, RoomView
from ashchat_chat.users.online import OnlineSocket
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire.admission import Admission
from ashchat_chat.wire.rules import Rules
from ashchat_chat.wire.socket import Sockets
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.tokens import TokenVerifier
from wire_client import DeniedError, WireClient

AT = datetime(2026, 1, 2, tzinfo=UTC)

ROOM = "room"


class RecordingRules:
    """Rooms, notifications, presence, typing and chats in one: they note what is asked."""

    def __init__(self) -> None:
        self.live = self.positions = self.messages = self
        self.changed: list[tuple[str, int]] = []
        self.client_ids: list[str] = []
        """Of reactions."""
        self.receiver_online = True
        self.group: list[str] = []
        """The other members of the room, if it is a group."""
        self.away = False
        self.alone = False
        self.sent: list[tuple[str, str, str]] = []
        self.attached: list[Any] = []
        self.detached: list[Any] = []
        self.typed: list[bool] = []
        self.open: list[tuple[str, bool]] = []
        """Users of open sockets, and whether these are visible."""

    # rooms

    async def join(self, room_id: str, user: str, since: int | None) -> Joined:
        if room_id != ROOM:
            raise NoSuchRoomError
        others = self.group or ["ben"]
        members = {who: Member(joined_rev=1, joined_n=0) for who in (user, *others)}
        kind: Literal["direct", "group"] = "group" if self.group else "direct"
        view = RoomView(room=room_id, rev=5, n=4, kind=kind, members=members)
        return Joined(5, 5 if since is None else since, reset=False, view=view, read=3)

    async def attach(self, *place: Any) -> None:
        self.attached.append(place)

    def detach(self, *place: Any) -> None:
        self.detached.append(place)

    async def send(self, room_id: str, user: str, draft: Draft) -> tuple[Sent, bool]:
        if self.away:
            raise StoreUnavailableError
        if self.alone:
            raise ReceiverDeletedError
        if "@all" in draft.text:
            raise RefusedError(Reason.MENTION_ALL_NOT_ALLOWED)
        if draft.reply_to is not None:
            self.changed.append(("reply", draft.reply_to))
        self.sent.append((user, draft.text, draft.client_id))
        event = Sent(
            room=room_id, rev=6, n=5, at=AT, sender=user, client_id=draft.client_id,
            text=draft.text, language=draft.language or "und",
        )  # fmt: skip
        return event, True

    async def edit(self, room: str, user: str, rev: int, draft: Draft) -> tuple[Edited, bool]:
        self.changed.append(("edit", rev))
        event = Edited(
            room=room, rev=7, at=AT, number=1, about=rev, sender=user, client_id=draft.client_id,
            text=draft.text, language="es",
        )  # fmt: skip
        return event, True

    async def react(
        self, _room: str, _user: str, rev: int, emoji: str, *, on: bool, client_id: str
    ) -> None:
        self.client_ids.append(client_id)
        self.changed.append((f"{emoji} {on}", rev))

    async def delete(self, _room: str, _user: str, rev: int) -> None:
        self.changed.append(("delete", rev))

    async def translate_again(self, _room: str, _user: str, rev: int, language: str) -> None:
        self.changed.append((f"translate {language}", rev))
        raise RefusedError(Reason.NOTHING_FAILED)

    async def acknowledge(self, _room: str, _user: str, position: Position) -> Position:
        return position

    # presence, typing, chats

    async def admit(self, _user: str, _limit: int, *, visible: bool) -> OnlineSocket:
        return OnlineSocket.new(visible=visible)

    def opened(self, user: str, socket: OnlineSocket) -> None:
        self.open.append((user, socket.visible))

    def closed(self, user: str, socket: OnlineSocket) -> None:
        self.open.remove((user, socket.visible))

    def show(self, user: str, socket: OnlineSocket, *, visible: bool) -> OnlineSocket:
        self.open.remove((user, socket.visible))
        self.open.append((user, visible))
        return OnlineSocket(socket.ref, socket.online_at, visible)

    async def leave(self) -> None: ...

    async def contacts(self, _user: str) -> set[str]:
        return set()

    async def enter_lobby(self, *_place: Any) -> None: ...

    def leave_lobby(self, *_place: Any) -> None: ...

    async def availability(
        self, last_seen: Mapping[str, datetime | None]
    ) -> dict[str, Availability]:
        return {
            user: Availability(user, self.receiver_online, at) for user, at in last_seen.items()
        }

    def said(self, _room: str, _user: str, *, is_typing: bool) -> None:
        self.typed.append(is_typing)

    async def profile(self, user_id: str) -> Profile:
        if user_id == "nobody":
            raise NoSuchUserError
        return Profile(user_id, user_id.title(), f"{user_id}_x", "en", last_seen_at=AT)


class MemoryTickets:
    """Remembers used tickets."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.away = False

    async def use(self, ticket_id: str) -> bool:
        if self.away:
            raise StoreUnavailableError
        fresh = ticket_id not in self.used
        self.used.add(ticket_id)
        return fresh


def admission_of(
    verifier: TokenVerifier, over: Revocations, tickets: MemoryTickets, rules: Any, **more: Any
) -> Callable[[Sockets], Admission]:
    """Return what makes the admission of sockets."""
    return lambda sockets: Admission(
        verifier=verifier, revocations=over, tickets=tickets, profiles=rules, presence=rules,
        stopping=lambda: sockets.stopping,
        **{"requests": NetworkRequests(10_000, "10.0.0.0/8"), **more},
    )  # fmt: skip


def sockets_of(
    rules: Any, verifier: TokenVerifier, over: Revocations, tickets: MemoryTickets, **more: Any
) -> Sockets:
    """Return sockets that call these rules."""
    return Sockets(
        Rules(rules, rules, rules, rules, rules, "pod-1"),
        admission_of(verifier, over, tickets, rules, **more),
        over,
    )


async def denial(opening: AbstractAsyncContextManager[WireClient]) -> DeniedError:
    """Return the refusal of a socket."""
    with pytest.raises(DeniedError) as denied:
        async with opening:
            pass
    return denied.value
