"""Continuous traffic of every kind, none of which may fail while something is changed.

Nothing is retried: a refused request, a lost socket or a sign-out is a failure.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from ashchat_dev.client import Person, Reply
from ashchat_dev.conversation import messages_of
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.pictures import png
from ashchat_e2e.resilient_client import Steadfast

TRANSLATED_WITHIN_S = 60.0
PICTURE_BYTES = 20_000
NAMES = (("Ana", "es"), ("Ben", "en"))

Rooms = list[tuple[Steadfast, Steadfast]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How many users do what, and how often."""

    rooms: int = 2
    """Rooms of two users who talk."""

    signing_in: int = 2
    staying: int = 2
    uploading: int = 0
    talk_every_s: float = 0.8
    sign_in_every_s: float = 1.0
    """A device may sign in 100 times an hour."""

    refresh_every_s: float = 3.0
    sign_up_every_s: float = 4.0
    upload_every_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Took:
    """An operation that succeeded: when it began, in seconds since the epoch, and its duration."""

    at: float
    seconds: float


@dataclass
class Traffic:
    """What was done, and which of it failed."""

    history: History
    scale: Scale = Scale()
    failed: list[str] = field(default_factory=list)
    took: defaultdict[str, list[Took]] = field(default_factory=lambda: defaultdict(list))
    """By operation."""
    rooms: Rooms = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def done(self) -> Counter[str]:
        """How often each operation was answered."""
        return Counter({name: len(found) for name, found in self.took.items()})

    @property
    def slowest(self) -> dict[str, float]:
        """Operation → seconds of the slowest one."""
        return {name: max(one.seconds for one in found) for name, found in self.took.items()}

    @property
    def reconnects(self) -> int:
        """How often a socket was lost."""
        return sum(who.reconnects for room in self.rooms for who in room)

    async def step(
        self, name: str, call: Callable[[], Awaitable[Reply]], right: int
    ) -> Reply | None:
        """Perform an operation once; return the response if it succeeded."""
        at, began = time.time(), time.monotonic()
        try:
            reply = await call()
        except Exception as error:  # noqa: BLE001 (any exception is a failed request)
            self.failed.append(f"{name}: {type(error).__name__} {error}")
            return None
        self.took[name].append(Took(at, time.monotonic() - began))
        if reply.status != right:
            self.failed.append(f"{name}: {reply.status} {reply.reason} {reply.message}")
            return None
        return reply

    async def pause(self, seconds: float) -> None:
        """Wait, unless the traffic has ended."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopped.wait()
        except TimeoutError:
            return

    async def talk(self, who: Steadfast) -> None:
        """Send messages until the traffic ends."""
        number = 0
        while not self.stopped.is_set():
            number += 1
            at, began = time.time(), time.monotonic()
            await who.send(sentence(who.person, number))
            self.took["message"].append(Took(at, time.monotonic() - began))
            await self.pause(self.scale.talk_every_s)

    async def sign_in(self, who: Person) -> None:
        """Sign in and read the own profile, until the traffic ends."""
        while not self.stopped.is_set():
            if await self.step("sign-in", who.signin, 200):
                await self.step("profile", lambda: who.chat.get("/user"), 200)
            await self.pause(self.scale.sign_in_every_s)

    async def stay(self, who: Person) -> None:
        """Use a session that began before the change: a sign-out shows here."""
        while not self.stopped.is_set():
            await self.step("refresh", who.refresh, 200)
            await self.step("profile", lambda: who.chat.get("/user"), 200)
            await self.pause(self.scale.refresh_every_s)

    async def upload(self, who: Person) -> None:
        """Upload pictures and read them, until the traffic ends."""
        while not self.stopped.is_set():
            await self.step("refresh", who.refresh, 200)
            files = {"file": ("a.png", png(PICTURE_BYTES), "image/png")}
            uploaded = await self.step("upload", partial(_upload, who, files), 201)
            if uploaded is not None:
                path = f"/files/{uploaded.body['name']}"
                await self.step("download", partial(who.anonymous.request, "GET", path), 200)
            await self.pause(self.scale.upload_every_s)

    async def sign_up(self, factory: PersonFactory, mailbox: Mailbox) -> None:
        """Sign up repeatedly; the codes travel through queues and mail."""
        number = 0
        while not self.stopped.is_set():
            number += 1
            who = factory.names_only(f"New{number}", "en")
            if await self.step("sign-up", who.signup, 202):
                try:
                    code = await mailbox.code_for(who.email, within=30)
                except Exception as error:  # noqa: BLE001 (a missing mail is a failure too)
                    self.failed.append(f"mail: {error}")
                else:
                    await self.step("confirm", lambda w=who, c=code: w.confirm_email(c), 201)  # type: ignore[misc]
                    await self.step("sign-in", who.signin, 200)
            await self.pause(self.scale.sign_up_every_s)


async def _upload(who: Person, files: Mapping[str, object]) -> Reply:
    return await who.anonymous.request("POST", "/files", files=files, headers=who.headers)


@asynccontextmanager
async def traffic(
    factory: PersonFactory,
    mailbox: Mailbox,
    scale: Scale = Scale(),
) -> AsyncIterator[Traffic]:
    """Generate traffic while the context is open; then check that nothing is missing.

    Raises:
        AssertionError: A message was lost, duplicated or not translated.
    """
    found = Traffic(History(), scale)
    people = await asyncio.gather(
        *(
            factory(f"{name}{room}", language)
            for room in range(scale.rooms)
            for name, language in NAMES
        )
    )
    signing_in, staying, uploading = [
        await asyncio.gather(*(factory(f"{name}{number}", "en") for number in range(count)))
        for name, count in (
            ("Guest", scale.signing_in),
            ("Member", scale.staying),
            ("Painter", scale.uploading),
        )
    ]
    pairs = list(zip(people[::2], people[1::2], strict=True))
    chats = [await one.open_chat(await other.tag()) for one, other in pairs]
    async with AsyncExitStack() as stack:
        for pair, chat in zip(pairs, chats, strict=True):
            one, other = [
                await stack.enter_async_context(Steadfast(who, chat, found.history)) for who in pair
            ]
            found.rooms.append((one, other))
        async with asyncio.TaskGroup() as tasks:
            for room in found.rooms:
                for who in room:
                    tasks.create_task(found.talk(who))
            for guest in signing_in:
                tasks.create_task(found.sign_in(guest))
            for member in staying:
                tasks.create_task(found.stay(member))
            for painter in uploading:
                tasks.create_task(found.upload(painter))
            tasks.create_task(found.sign_up(factory, mailbox))
            try:
                yield found
            finally:
                found.stopped.set()
        await _complete(found)


async def _complete(found: Traffic) -> None:
    await everything_read(found.rooms, found.history)
    found.history.check()

    async def all_translated() -> bool:
        return await lacking_translations(found.rooms) == 0

    await until(all_translated, within=TRANSLATED_WITHIN_S, every=1, what="every translation")


def sentence(who: Person, number: int) -> str:
    """Return a sentence in the user's language."""
    return f"La casa {number} es grande." if who.language == "es" else f"The house {number} is big."


async def everything_read(rooms: Rooms, history: History) -> None:
    """Record what both users read from the store; their sockets must have received it too.

    Raises:
        AssertionError: A socket lacks a message that is in the store.
    """
    for room in rooms:
        for who in room:
            kept = [one["id"] for one in await messages_of(who.person, who.chat_id)]
            history.read(f"{who.person.name} from the store", who.chat_id, kept)

            def heard_all(who: Steadfast = who, kept: list[str] = kept) -> bool:
                return set(kept) <= set(who.heard)

            await until(
                heard_all,
                within=30,
                what=f"{who.person.name}'s socket having received all messages",
            )
            history.read(f"{who.person.name} live", who.chat_id, who.heard)


async def lacking_translations(rooms: Rooms) -> int:
    """Return how many received messages are still untranslated, over all users."""
    count = 0
    for room in rooms:
        for who in room:
            count += sum(
                one["sender_id"] != who.person.user_id and one["translated_content"] is None
                for one in await messages_of(who.person, who.chat_id)
            )
    return count
