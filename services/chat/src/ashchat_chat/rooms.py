"""The rooms of one pod: appending to their logs, and giving the events to sockets.

The rules, all in one place:

* The insert of an event is its commit; everything is published after it.
* `rev` = last + 1, inserted optimistically. A conflict means that the room went on, or
  that the sender's own id is there already: then that event is the answer.
* Every socket of a room gets its events in order, without a hole and each once. Other
  pods' events come through a lossy fan-out; holes are filled from the store, and heads
  are compared after every (re)subscription and regularly, since the loss of a last event
  leaves no hole.

No I/O library is imported here; the store and the fan-out are `ports`.
"""

import asyncio
import contextlib
import json
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from ashchat_chat import metrics, phoenix
from ashchat_chat.clock import monotonic
from ashchat_chat.holdback import Holdback, Ready
from ashchat_chat.log import (
    TRANSLATOR,
    AnyEvent,
    Members,
    Read,
    RoomView,
    Sent,
    Translated,
    fold_messages,
    fold_room,
    is_placeholder,
    message_place,
    parse,
    placeholder,
)
from ashchat_chat.ports import (
    ConflictError,
    Fanout,
    Job,
    LogStore,
    StoreUnavailableError,
    Subscriber,
    deleted_profile,
)
from ashchat_chat.sequence import Sequencer
from ashchat_core import languages
from ashchat_core.messages import TranslationResult

RESUME_MAX_EVENTS = 1_000
"""A longer gap is answered with `reset`: fetching pages is cheaper than replaying."""

REPLAY_PAGE = 200
APPEND_SECONDS = 6.0
"""How long an append goes on while the store is away; clients give up after 10 s."""

APPEND_AGAIN_SECONDS = 0.2

CHECK_FIRST_SECONDS, CHECK_MAX_SECONDS = 2.0, 10.0
"""How often heads are compared: soon after something happened, then less and less."""

CHECK_ROOMS = 200
"""Rooms in one comparison."""

IDLE_ROOMS = 5_000
"""Rooms without a socket whose view is kept, so that a send needs no reading first."""

LANGUAGE_SECONDS = 30.0
READ_DELAY_SECONDS = 0.2
"""Reads of protocol 1 are gathered this long: a burst is one event."""

PROJECT_DELAY_SECONDS = 1.0
PROJECT_PAGE = 500

ROOM_CHANNEL = "chat:room:"
USER_CHANNEL = "chat:user:"


class NoSuchRoomError(Exception):
    """There is no such room, or the user is not in it; callers cannot distinguish these."""


class NoSuchMessageError(Exception):
    """A translation came for a message that is not in the log."""


class ReceiverDeletedError(Exception):
    """The other user has deleted the account."""


class _NotNeededError(Exception):
    """The log went on, and the event that was to be appended has no place in it any more."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a join."""

    rev: int
    """The head of the log."""
    since: int
    """From where the socket is served: the events after it come next."""
    reset: bool
    """The gap is not replayed: the client has to fetch the room."""
    members: tuple[str, ...]


@dataclass(slots=True, eq=False)
class _Room:
    view: RoomView
    sequencer: Sequencer[AnyEvent]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    # by language, so that a frame is made once for all who get the same
    two: dict[str, set[Subscriber]] = field(default_factory=dict)
    one: dict[str, dict[Subscriber, int]] = field(default_factory=dict)
    holds: dict[str, Holdback] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    unread: deque[tuple[int, str, str]] = field(default_factory=lambda: deque(maxlen=500))
    """(rev, sender, client id) of messages whose senders did not get READED yet."""
    check_at: float = 0.0
    check_every: float = CHECK_FIRST_SECONDS

    @property
    def occupied(self) -> bool:
        return bool(self.two or self.one)


class Rooms:
    """All rooms this pod knows."""

    def __init__(
        self,
        store: LogStore,
        fanout: Fanout,
        *,
        pod: str,
        job: Job,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._fanout = fanout
        self._pod = pod
        self._job = job
        self._now = now
        self._rooms: OrderedDict[str, _Room] = OrderedDict()
        self._occupied: set[str] = set()
        self._rooms_of: dict[str, set[str]] = {}
        self._loading: dict[str, asyncio.Future[_Room]] = {}
        self._languages: dict[str, tuple[str, float]] = {}
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        self._reads: dict[tuple[str, str], int] = {}
        self._unprojected: set[str] = set()
        self._log = structlog.get_logger("rooms")

    # Joining

    async def membership(self, room_id: str, user: str) -> tuple[str, ...]:
        """Return a room's members, for one of them.

        Raises:
            NoSuchRoomError: there is none, or the user is not in it.
            StoreUnavailableError: it could not be found out.
        """
        room = await self._room(room_id)
        if user not in room.view.members:
            raise NoSuchRoomError
        return room.view.members

    async def join(self, room_id: str, user: str, since: int | None) -> Joined:
        """Prepare a join: check, hear the other pods, and compare heads.

        Raises:
            NoSuchRoomError: there is none, or the user is not in it.
            StoreUnavailableError: it could not be found out.
        """
        room = await self._room(room_id)
        if user not in room.view.members:
            raise NoSuchRoomError
        if not room.occupied:
            await self._fanout.subscribe(ROOM_CHANNEL + room_id)
        await self._refresh(room)
        head = room.view.rev
        if since is None:
            return Joined(head, head, reset=False, members=room.view.members)
        # Ahead of the log: it was restored from a backup, or the client is mistaken.
        if since > head or head - since > RESUME_MAX_EVENTS:
            metrics.RESETS.inc()
            return Joined(head, head, reset=True, members=room.view.members)
        return Joined(head, since, reset=False, members=room.view.members)

    async def attach(self, room_id: str, subscriber: Subscriber, since: int) -> None:
        """Replay what came after `since`, then serve the socket live.

        Raises:
            NoSuchRoomError: the room is gone.
            StoreUnavailableError: the gap could not be read.
        """
        room = await self._room(room_id)
        topic = f"chat:{room_id}"
        cursor = since
        while cursor < room.view.rev:
            events = await self._store.after({room_id: cursor}, REPLAY_PAGE)
            if not events:
                break
            for event in events:
                if subscriber.protocol != 1 and event.visible_to(subscriber.language):
                    subscriber.send(phoenix.push(topic, "event", event.payload()), "event")
            cursor = events[-1].rev
            # The store may be ahead of what this pod has heard of.
            self._offer(room_id, room, events)
            await subscriber.drained()
        # Without an await from the comparison to here, nothing falls in between.
        if subscriber.protocol == 1:
            room.one.setdefault(subscriber.language, {})[subscriber] = room.view.rev
            room.holds.setdefault(subscriber.language, Holdback(subscriber.language))
            self.read(room_id, subscriber.user, room.view.rev)
        else:
            room.two.setdefault(subscriber.language, set()).add(subscriber)
        self._occupied.add(room_id)
        for member in room.view.members:
            self._rooms_of.setdefault(member, set()).add(room_id)
        metrics.ROOMS.set(len(self._occupied))
        self._busy(room)
        # While replaying the room may have become empty and unsubscribed.
        await self._fanout.subscribe(ROOM_CHANNEL + room_id)

    def detach(self, room_id: str, subscriber: Subscriber) -> None:
        """Serve a socket no longer; harmless when it was not served."""
        room = self._rooms.get(room_id)
        if room is None:
            return
        readers = room.two.get(subscriber.language, set())
        readers.discard(subscriber)
        if not readers:
            room.two.pop(subscriber.language, None)
        old = room.one.get(subscriber.language, {})
        old.pop(subscriber, None)
        if not old:
            room.one.pop(subscriber.language, None)
            room.holds.pop(subscriber.language, None)
        if not room.occupied and room_id in self._occupied:
            self._occupied.discard(room_id)
            for member in room.view.members:
                self._not_here(room_id, member)
            metrics.ROOMS.set(len(self._occupied))
            self._fanout.unsubscribe(ROOM_CHANNEL + room_id)
            if room.timer is not None:
                room.timer.cancel()
                room.timer = None

    # Appending

    async def send(
        self, room_id: str, user: str, *, text: str, language: str | None, client_id: str
    ) -> tuple[Sent, bool]:
        """Commit a message; return it, and whether it is new.

        A repeated `client_id` returns the message that it was the first time.

        Raises:
            NoSuchRoomError: there is none, or the user is not in it.
            ReceiverDeletedError: the other one has deleted their account.
            StoreUnavailableError: it may have been committed; sending it again is safe.
        """
        members = await self.membership(room_id, user)
        read = await self._read_by([*members])
        source = language if language not in {None, languages.UNKNOWN} else read.get(user)
        source = source or languages.UNKNOWN
        targets = languages.targets(source, [tag for who, tag in read.items() if who != user])

        def message(view: RoomView) -> Sent:
            if user not in view.members:
                raise NoSuchRoomError
            if any(map(is_placeholder, view.members)):
                raise ReceiverDeletedError
            return Sent(
                room=room_id,
                rev=view.rev + 1,
                at=self._now(),
                sender=user,
                client_id=client_id,
                text=text,
                language=source,
                targets=targets,
            )

        event, fresh = await self._append(room_id, message, sender=user, client_id=client_id)
        if not isinstance(event, Sent):
            raise TypeError("a client's id names an event that is no message")
        if fresh:
            metrics.ACCEPTED.inc()
            if event.targets:
                self._job(event)
            # For the sockets of members who have not joined the room.
            self._tell_members(room_id, event, [who for who in members if who != user])
        else:
            metrics.DUPLICATES.inc()
        return event, fresh

    async def acknowledge(self, room_id: str, user: str, up_to: int) -> int:
        """Commit that a user has read up to a revision; return the read position.

        Raises:
            NoSuchRoomError: there is none, or the user is not in it.
            StoreUnavailableError: it is not known whether it was committed; to repeat it is safe.
        """
        await self.membership(room_id, user)
        room = await self._room(room_id)
        up_to = min(up_to, room.view.rev)
        if up_to <= room.view.reads.get(user, 0):
            return room.view.reads.get(user, 0)

        def read(view: RoomView) -> Read:
            if user not in view.members:
                raise NoSuchRoomError
            return Read(room=room_id, rev=view.rev + 1, at=self._now(), user=user, up_to=up_to)

        await self._append(room_id, read)
        return up_to

    async def depart(self, room_id: str, user: str) -> None:
        """Replace a user by a placeholder permanently; repeating it changes nothing.

        It is an event like others and therefore a fence: a pod that appends an event knows all
        previous ones, so after this one no pod can commit anything of that user.

        Raises:
            NoSuchRoomError: there is none.
            StoreUnavailableError: it is not known whether it was committed; to repeat it is safe.
        """

        def without(view: RoomView) -> Members:
            if user not in view.members:
                raise _NotNeededError
            members = tuple(placeholder(who) if who == user else who for who in view.members)
            return Members(room=room_id, rev=view.rev + 1, at=self._now(), members=members)

        with contextlib.suppress(_NotNeededError):
            await self._append(room_id, without)

    async def translated(self, result: TranslationResult) -> bool:
        """Commit a translation once per (message, version, language); return whether it is new.

        One of a message whose sender has deleted their account is dropped.

        Raises:
            NoSuchMessageError: nothing in the log has that id.
            StoreUnavailableError: it is not known whether it was committed; to repeat it is safe.
        """
        place = message_place(result.message)
        if place is None:
            raise NoSuchMessageError
        room_id, rev = place
        try:
            room = await self._room(room_id)
        except NoSuchRoomError:
            raise NoSuchMessageError from None
        original = await self._store.at(room_id, rev)
        if not isinstance(original, Sent):
            raise NoSuchMessageError
        client_id = f"{rev}.{result.text_version}.{result.target}"

        def translation(view: RoomView) -> Translated:
            if original.erased or original.sender not in view.members:
                raise _NotNeededError
            return Translated(
                room=room_id,
                rev=view.rev + 1,
                at=self._now(),
                client_id=client_id,
                message=result.message,
                message_rev=rev,
                text_version=result.text_version,
                target=result.target,
                outcome=result.outcome,
                text=result.text,
                provider=result.provider,
                reason=result.reason,
            )

        try:
            event, fresh = await self._append(
                room_id, translation, sender=TRANSLATOR, client_id=client_id
            )
        except _NotNeededError:
            return False
        if fresh and isinstance(event, Translated):
            metrics.TRANSLATION_SECONDS.observe((event.at - original.at).total_seconds())
            read = await self._read_by([*room.view.members])
            readers = [who for who, tag in read.items() if languages.same(tag, result.target)]
            self._tell_members(room_id, event, [who for who in readers if who != original.sender])
        return fresh

    def read(self, room_id: str, user: str, up_to: int) -> None:
        """Record that a protocol 1 user was shown the room; committed soon."""
        if up_to > 0:
            key = (room_id, user)
            self._reads[key] = max(self._reads.get(key, 0), up_to)

    # What is heard from other pods

    def heard(self, channel: str, text: str) -> None:
        """Take what another pod published about a room."""
        room_id = channel.removeprefix(ROOM_CHANNEL)
        room = self._rooms.get(room_id)
        if room is None:
            return
        body = json.loads(text)
        if "event" in body:
            self._busy(room)
            self._offer(room_id, room, [parse(body["event"])])
        elif "typing" in body and body["typing"].get("pod") != self._pod:
            self.show_typing(room_id, body["typing"]["user"], body["typing"]["is_typing"])

    def subscribed(self, channel: str) -> None:
        """A (re)subscription: what was published before it was not heard, so compare heads."""
        self._mark_dirty(channel.removeprefix(ROOM_CHANNEL))

    # Typing: lossy, never stored

    def typing(self, room_id: str, user: str, *, is_typing: bool) -> None:
        """Tell everybody in the room, on every pod."""
        self.show_typing(room_id, user, is_typing)
        told = {"typing": {"user": user, "is_typing": is_typing, "pod": self._pod}}
        self._fanout.publish(ROOM_CHANNEL + room_id, json.dumps(told))

    def show_typing(self, room_id: str, user: str, is_typing: bool) -> None:  # noqa: FBT001
        """Send an event to the sockets of this pod."""
        room = self._rooms.get(room_id)
        if room is not None:
            self.tell(room_id, "typing", {"is_typing": is_typing, "user_id": user}, but=user)

    def tell(self, room_id: str, event: str, payload: phoenix.Payload, *, but: str = "") -> None:
        """Push an event that is not of the log to the room's sockets on this pod."""
        room = self._rooms.get(room_id)
        if room is None:
            return
        text = phoenix.push(f"chat:{room_id}", event, payload)
        for subscriber in _everyone(room):
            if subscriber.user != but:
                subscriber.send(text, event)

    def rooms_of(self, user: str) -> frozenset[str]:
        """Return a user's rooms that have sockets on this pod."""
        return frozenset(self._rooms_of.get(user, ()))

    def people(self) -> set[str]:
        """Return the members of the rooms with sockets here."""
        return set(self._rooms_of)

    def has_joined(self, room_id: str, user: str) -> bool:
        """Return whether a socket of the user on this pod has joined the room."""
        room = self._rooms.get(room_id)
        return room is not None and any(one.user == user for one in _everyone(room))

    def read_position(self, room_id: str, user: str) -> int:
        """Return a user's read position, as far as this pod knows."""
        room = self._rooms.get(room_id)
        return room.view.reads.get(user, 0) if room is not None else 0

    def forget_language(self, user: str) -> None:
        """Read a user's language from the store again."""
        self._languages.pop(user, None)

    # Background work; each runs until cancelled

    async def compare(self) -> None:
        """Fill the holes, and compare heads, in batches."""
        while True:
            # Not wait_for: before Python 3.12 it may swallow a cancellation (gh-86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_FIRST_SECONDS / 2):
                    await self._wake.wait()
            self._wake.clear()
            now = monotonic()
            due = [room for room in self._dirty if room in self._rooms]
            known = set(due)
            due += [
                room_id
                for room_id in self._occupied
                if room_id not in known and self._rooms[room_id].check_at <= now
            ]
            self._dirty.clear()
            try:
                for start in range(0, len(due), CHECK_ROOMS):
                    await self._fill(due[start : start + CHECK_ROOMS])
            except StoreUnavailableError:
                self._dirty.update(due)
                await asyncio.sleep(1.0)
                self._wake.set()

    async def flush_reads(self) -> None:
        """Commit the reads that protocol 1 implies."""
        while True:
            await asyncio.sleep(READ_DELAY_SECONDS)
            reads, self._reads = self._reads, {}
            for (room_id, user), up_to in reads.items():
                try:
                    await self.acknowledge(room_id, user, up_to)
                except StoreUnavailableError:
                    self.read(room_id, user, up_to)
                except NoSuchRoomError:
                    continue

    async def keep_projecting(self) -> None:
        """Bring the projections of rooms that changed up to date."""
        while True:
            await asyncio.sleep(PROJECT_DELAY_SECONDS)
            rooms, self._unprojected = self._unprojected, set()
            for room_id in rooms:
                try:
                    await self.project(room_id)
                except StoreUnavailableError:
                    self._unprojected.add(room_id)

    async def project(self, room_id: str) -> None:
        """Fold the log into the stored projections of a room.

        Raises:
            StoreUnavailableError: not now.
        """
        record = await self._store.room(room_id)
        if record is None:
            return
        view = record.projected
        while events := await self._store.after({room_id: view.rev}, PROJECT_PAGE):
            touched = {event.rev for event in events if isinstance(event, Sent)}
            touched |= {event.message_rev for event in events if isinstance(event, Translated)}
            before = sorted(rev for rev in touched if rev <= view.rev)
            known = await self._store.messages(room_id, before) if before else []
            view = fold_room(view, events)
            last = max((event.at for event in events if isinstance(event, Sent)), default=None)
            await self._store.project(view, fold_messages(known, events), last)

    # Inside

    async def _room(self, room_id: str) -> _Room:
        room = self._rooms.get(room_id)
        if room is not None:
            self._rooms.move_to_end(room_id)
            return room
        loading = self._loading.get(room_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(room_id))
            self._loading[room_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(room_id, None))
        return await asyncio.shield(loading)

    async def _load(self, room_id: str) -> _Room:
        record = await self._store.room(room_id)
        if record is None:
            raise NoSuchRoomError
        room = _Room(record.projected, Sequencer(record.projected.rev))
        await self._refresh(room)
        if room.view.rev == 0:
            # The room's document was written, and its first event not yet.
            def first(rev: int) -> Members:
                return Members(room=room_id, rev=rev, at=self._now(), members=record.members)

            with contextlib.suppress(ConflictError):
                await self._store.insert(first(1))
            await self._refresh(room)
        self._rooms[room_id] = room
        while len(self._rooms) > IDLE_ROOMS + len(self._occupied):
            idle = next((key for key, one in self._rooms.items() if not one.occupied), None)
            if idle is None or idle == room_id:
                break
            del self._rooms[idle]
        return room

    async def _refresh(self, room: _Room) -> None:
        """Bring a room's view to the head of the log."""
        room_id = room.view.room
        while True:
            events = await self._store.after({room_id: room.view.rev}, REPLAY_PAGE)
            self._offer(room_id, room, events)
            if len(events) < REPLAY_PAGE:
                return

    async def _append(
        self,
        room_id: str,
        make: Callable[[RoomView], AnyEvent],
        *,
        sender: str = "",
        client_id: str = "",
    ) -> tuple[AnyEvent, bool]:
        """Insert an event at the end of the log; return it, and whether this call did.

        `make` gets the room as it is before the event, and says no by an exception.
        """
        started = monotonic()
        room = await self._room(room_id)
        attempt = 0
        # One at a time on this pod; other pods are met at the unique index.
        async with room.lock:
            while True:
                event = make(room.view)
                try:
                    await self._store.insert(event)
                    break
                except ConflictError:
                    metrics.CONFLICTS.inc()
                    if client_id:
                        found = await self._store.by_client_id(room_id, sender, client_id)
                        if found is not None:
                            await self._refresh(room)
                            return found, False
                    await self._refresh(room)
                except StoreUnavailableError:
                    # It may be there: the next insert then meets it as a conflict.
                    if monotonic() - started > APPEND_SECONDS:
                        raise
                    await asyncio.sleep(APPEND_AGAIN_SECONDS)
                attempt += 1
                if attempt > 3:  # noqa: PLR2004 (a busy room: step out of each other's way)
                    await asyncio.sleep(random.uniform(0.0, 0.01))  # noqa: S311
            metrics.COMMIT_SECONDS.observe(monotonic() - started)
            metrics.EVENTS.labels(event.kind).inc()
            self._unprojected.add(room_id)
            self._busy(room)
            self._offer(room_id, room, [event])
        self._fanout.publish(
            ROOM_CHANNEL + room_id, f'{{"event":{event.model_dump_json(exclude_none=True)}}}'
        )
        return event, True

    def _offer(self, room_id: str, room: _Room, events: Sequence[AnyEvent]) -> None:
        for event in events:
            for ready in room.sequencer.offer(event):
                before = room.view.members
                room.view = fold_room(room.view, [ready])
                if room.occupied:
                    self._dispatch(room_id, room, ready)
                    if isinstance(ready, Members):
                        self._moved(room_id, before, room.view.members)
        if room.sequencer.gap:
            self._mark_dirty(room_id)

    def _moved(self, room_id: str, before: Sequence[str], now: Sequence[str]) -> None:
        """Follow a change of members in a room with sockets here."""
        for who in set(before) - set(now):
            self._not_here(room_id, who)
        for who in set(now) - set(before):
            self._rooms_of.setdefault(who, set()).add(room_id)
            if is_placeholder(who):
                self.tell(room_id, "receiver_info", deleted_profile(who).payload())
                self.tell(room_id, "receiver_online", {"status": "offline"})

    def _not_here(self, room_id: str, user: str) -> None:
        here = self._rooms_of.get(user, set())
        here.discard(room_id)
        if not here:
            self._rooms_of.pop(user, None)

    def _dispatch(self, room_id: str, room: _Room, event: AnyEvent) -> None:
        topic = f"chat:{room_id}"
        text = ""
        for language, readers in room.two.items():
            if not event.visible_to(language):
                continue
            text = text or phoenix.push(topic, "event", event.payload())
            for reader in readers:
                reader.send(text, "event")
        if not room.one:
            return
        now = monotonic()
        for language, hold in room.holds.items():
            self._show(room_id, room, language, hold.take(event, now))
        if isinstance(event, Sent):
            room.unread.append((event.rev, event.sender, event.client_id))
        elif isinstance(event, Read):
            self._tell_read(room_id, room)
        self._set_timer(room_id, room)

    def _show(self, room_id: str, room: _Room, language: str, ready: Iterable[Ready]) -> None:
        """Give messages to the sockets of protocol 1 of one language."""
        for message in ready:
            event = message.event
            payload = {"chat_id": room_id, "content": message.text, "sender_id": event.sender}
            text = phoenix.push(f"chat:{room_id}", "receive_message", payload)
            for reader, joined_at in room.one.get(language, {}).items():
                # What was there before the join came with the chat's history.
                if reader.user != event.sender and event.rev > joined_at:
                    reader.send(text, "receive_message")
                    self.read(room_id, reader.user, event.rev)

    def _tell_read(self, room_id: str, room: _Room) -> None:
        """Tell senders of protocol 1 that their messages were read."""
        still: list[tuple[int, str, str]] = []
        for rev, sender, client_id in room.unread:
            if room.view.read_by_others(sender) < rev:
                still.append((rev, sender, client_id))
                continue
            text = phoenix.push(
                f"chat:{room_id}",
                "message_sent",
                {"mobile_ref_id": client_id, "status": "READED", "chat_id": room_id},
            )
            for readers in room.one.values():
                for reader in readers:
                    if reader.user == sender:
                        reader.send(text, "message_sent")
        room.unread.clear()
        room.unread.extend(still)

    def _set_timer(self, room_id: str, room: _Room) -> None:
        if room.timer is not None:
            room.timer.cancel()
            room.timer = None
        deadlines = [hold.deadline for hold in room.holds.values() if hold.deadline is not None]
        if deadlines:
            room.timer = asyncio.get_running_loop().call_at(
                min(deadlines), self._expire, room_id, room
            )

    def _expire(self, room_id: str, room: _Room) -> None:
        now = monotonic()
        for language, hold in room.holds.items():
            self._show(room_id, room, language, hold.expire(now))
        self._set_timer(room_id, room)

    def _tell_members(self, room_id: str, event: AnyEvent, users: Iterable[str]) -> None:
        body = (
            f'{{"room":{json.dumps(room_id)},"event":{event.model_dump_json(exclude_none=True)}}}'
        )
        for user in users:
            self._fanout.publish(USER_CHANNEL + user, body)

    async def _read_by(self, users: Sequence[str]) -> dict[str, str]:
        """Return what people read, from a short memory or the store."""
        now = monotonic()
        unknown = [who for who in users if self._languages.get(who, ("", 0.0))[1] <= now]
        if unknown:
            found = await self._store.languages(unknown)
            for who in unknown:
                # Who has no profile yet is asked for again next time.
                if who in found:
                    self._languages[who] = (found[who], now + LANGUAGE_SECONDS)
            if len(self._languages) > 10 * IDLE_ROOMS:
                self._languages.clear()
                return found | await self._store.languages(
                    [who for who in users if who not in found]
                )
        return {who: self._languages[who][0] for who in users if who in self._languages}

    async def _fill(self, room_ids: Sequence[str]) -> None:
        revs = {
            room_id: self._rooms[room_id].view.rev for room_id in room_ids if room_id in self._rooms
        }
        if not revs:
            return
        limit = REPLAY_PAGE * 5
        events = await self._store.after(revs, limit)
        for event in events:
            room = self._rooms.get(event.room)
            if room is not None:
                if event.rev > room.view.rev:
                    metrics.FILLED.inc()
                    self._busy(room)
                self._offer(event.room, room, [event])
        if len(events) >= limit:
            for room_id in room_ids:
                self._mark_dirty(room_id)
        now = monotonic()
        for room_id in revs:
            room = self._rooms.get(room_id)
            if room is not None and room.check_at <= now:
                room.check_at = now + room.check_every
                room.check_every = min(room.check_every * 2, CHECK_MAX_SECONDS)

    def _busy(self, room: _Room) -> None:
        room.check_every = CHECK_FIRST_SECONDS
        room.check_at = min(room.check_at, monotonic() + CHECK_FIRST_SECONDS)

    def _mark_dirty(self, room_id: str) -> None:
        if room_id in self._rooms:
            self._dirty.add(room_id)
            self._wake.set()


def _everyone(room: _Room) -> list[Subscriber]:
    return [
        subscriber for group in (*room.two.values(), *room.one.values()) for subscriber in group
    ]
