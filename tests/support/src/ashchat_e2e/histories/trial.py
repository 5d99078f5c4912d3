"""One trial: members talk in rooms, faults happen, and what was recorded is checked."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from pymongo.errors import PyMongoError

from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.conversation import messages_of
from ashchat_dev.waiting import until
from ashchat_e2e.backends import Database
from ashchat_e2e.histories.link import Link
from ashchat_e2e.histories.member import Member, Outsider, through
from ashchat_e2e.histories.records import MEMBERS, MESSAGE, Count, Entry, Pages, Run
from ashchat_e2e.people import PersonFactory

LANGUAGES: Final = ("es", "en")
DRAINED_WITHIN_S: Final = 90.0
UNREAD: Final = 3
"""Messages at the end that nobody acknowledges."""


@dataclass(eq=False)
class Trial:
    """Rooms, their members with a link each, and an outsider."""

    members: list[Member]
    outsider: Outsider
    links: list[Link]
    run: Run
    rooms: list[str] = field(default_factory=list)

    async def through(self, faults: Callable[[], Awaitable[None]]) -> None:
        """Let everybody be active while faults happen; then let them finish."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            staying = [tasks.create_task(member.stay()) for member in self.members]
            staying.append(tasks.create_task(self.outsider.pry()))
            living = [tasks.create_task(member.live(over)) for member in self.members]
            await faults()
            over.set()
            await asyncio.wait(living)
            await self._last_words()
            for task in staying:
                task.cancel()

    async def conclude(self, database: Database) -> None:
        """Receive everything, and read the counts and the logs.

        Raises:
            AssertionError: A member did not receive the end of the log.
        """
        for member in self.members:
            await until(
                partial(_drained, member, database),
                within=DRAINED_WITHIN_S,
                every=1,
                what=f"the end of the log at {member.person.name}",
                ignoring=(PyMongoError,),
            )
            await member.close()
        self.run.counts = [await counted(member) for member in self.members]
        self.run.pages = [await paged(member) for member in self.members]
        self.run.logs = {room: await read_log(database, room) for room in self.rooms}

    async def _last_words(self) -> None:
        """Let everybody have read everything, and then leave some messages unread."""
        for member in self.members:
            await member.acknowledge()
        for room in self.rooms:
            speaker = next(member for member in self.members if member.chat_id == room)
            for _ in range(UNREAD):
                await speaker.send()


async def _drained(member: Member, database: Database) -> bool:
    """Return whether a member has received everything for them, and record up to where."""
    log = await read_log(database, member.chat_id)
    await member.channel()
    member.take()
    own = {None, member.person.language}
    last = max(entry.rev for entry in log if entry.language in own)
    if (member.rev or 0) < last:
        return False
    member.stays[-1].drained_to = log[-1].rev
    return True


@asynccontextmanager
async def trial(person: PersonFactory, url: str, *, direct: int, seed: str) -> AsyncIterator[Trial]:
    """Create rooms of two members each, and an outsider.

    Args:
        person: Creates the users.
        url: The platform's URL, which the links lead to.
        direct: How many direct rooms.
        seed: What the members draw their actions with.
    """
    run = Run()
    eve = await person("Eve", "en")
    async with AsyncExitStack() as stack:
        found = Trial([], Outsider(eve, (), run), [], run)
        for number in range(direct):
            users = await asyncio.gather(
                *(person(f"{language}{number}", language) for language in LANGUAGES)
            )
            room = await users[0].open_chat(await users[1].tag())
            found.rooms.append(room)
            for user in users:
                link = Link(url)
                await stack.enter_async_context(link.serve())
                found.links.append(link)
                draw = random.Random(f"{seed} {user.name}")  # noqa: S311 (a sample)
                found.members.append(Member(through(user, link), room, run=run, draw=draw))
        found.outsider.rooms = tuple(found.rooms)
        yield found


async def read_log(database: Database, room: str) -> list[Entry]:
    """Return a room's log from the store."""
    found = await database["events"].find({"room": room}).sort([("rev", 1)]).to_list()
    members: frozenset[str] = frozenset()
    log = []
    for document in found:
        for change in document.get("changes", ()):
            members -= {change["user"]}
            members |= {change["user"]} if change.get("role") else set()
        log.append(entry(document, members))
    return log


def entry(document: dict[str, Any], members: frozenset[str]) -> Entry:
    """Return a stored event as a record; `members` are those from it on."""
    kind = document["kind"]
    return Entry(
        document["rev"],
        kind,
        document.get("client_id") if kind == MESSAGE else None,
        document.get("sender"),
        document.get("n"),
        language=document.get("target"),
        members=members if kind == MEMBERS else None,
    )


async def counted(member: Member) -> Count:
    """Return a member's counts by the list of chats.

    Raises:
        RequestRefusedError: The service does not return it.
    """
    await _refreshed(member.person)
    reply = await member.person.chat.get("/chats")
    if reply.status != 200:
        raise RequestRefusedError("chats", reply)
    (chat,) = [each for each in reply.body["chats"] if each["id"] == member.chat_id]
    return Count(
        member.chat_id,
        member.person.user_id,
        chat["read_n"],
        member.acknowledged,
        chat["unread_count"],
    )


async def paged(member: Member) -> Pages:
    """Return the messages as a member reads them page by page."""
    found = await messages_of(member.person, member.chat_id)
    return Pages(member.chat_id, member.person.user_id, tuple(each["id"] for each in found))


async def _refreshed(person: Person) -> None:
    reply = await person.refresh()
    if reply.status != 200:
        raise RequestRefusedError("refresh", reply)
