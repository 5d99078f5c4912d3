"""Continuous traffic of every kind, none of which may fail while something is changed.

Nothing is retried: a refused request, a lost socket or a sign-out is a failure.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from ashchat_dev.client import Person, Reply
from ashchat_dev.conversation import messages_of
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.resilient_client import Steadfast

ROOMS = 2
TALK_EVERY_S = 0.8
SIGN_IN_EVERY_S = 1.0
REFRESH_EVERY_S = 3.0
SIGN_UP_EVERY_S = 4.0
TRANSLATED_WITHIN_S = 60.0
NAMES = (("Ana", "es"), ("Ben", "en"))

Rooms = list[tuple[Steadfast, Steadfast]]


@dataclass
class Traffic:
    """What was done, and which of it failed."""

    history: History
    done: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    """Operation → seconds of the slowest one."""
    rooms: Rooms = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reconnects(self) -> int:
        """How often a socket was lost."""
        return sum(who.reconnects for room in self.rooms for who in room)

    async def step(self, name: str, call: Callable[[], Awaitable[Reply]], right: int) -> bool:
        """Perform an operation once; return whether it succeeded."""
        began = time.monotonic()
        try:
            reply = await call()
        except Exception as error:  # noqa: BLE001 (any exception is a failed request)
            self.failed.append(f"{name}: {type(error).__name__} {error}")
            return False
        self.done[name] += 1
        self.slowest[name] = max(self.slowest.get(name, 0.0), time.monotonic() - began)
        if reply.status != right:
            self.failed.append(f"{name}: {reply.status} {reply.reason} {reply.message}")
        return reply.status == right

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
            began = time.monotonic()
            await who.send(sentence(who.person, number))
            self.done["message"] += 1
            took = time.monotonic() - began
            self.slowest["message"] = max(self.slowest.get("message", 0.0), took)
            await self.pause(TALK_EVERY_S)

    async def sign_in(self, who: Person) -> None:
        """Sign in and read the own profile, until the traffic ends."""
        while not self.stopped.is_set():
            if await self.step("sign-in", who.signin, 200):
                await self.step("profile", lambda: who.chat.get("/user"), 200)
            await self.pause(SIGN_IN_EVERY_S)

    async def stay(self, who: Person) -> None:
        """Use a session that began before the change: a sign-out shows here."""
        while not self.stopped.is_set():
            await self.step("refresh", who.refresh, 200)
            await self.step("profile", lambda: who.chat.get("/user"), 200)
            await self.pause(REFRESH_EVERY_S)

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
            await self.pause(SIGN_UP_EVERY_S)


@asynccontextmanager
async def traffic(factory: PersonFactory, mailbox: Mailbox) -> AsyncIterator[Traffic]:
    """Generate traffic while the context is open; then check that nothing is missing.

    Raises:
        AssertionError: A message was lost, duplicated or not translated.
    """
    found = Traffic(History())
    people = await asyncio.gather(
        *(factory(f"{name}{room}", language) for room in range(ROOMS) for name, language in NAMES)
    )
    guests = await asyncio.gather(*(factory(f"Guest{number}", "en") for number in range(4)))
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
            for guest in guests[:2]:
                tasks.create_task(found.sign_in(guest))
            for guest in guests[2:]:
                tasks.create_task(found.stay(guest))
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
