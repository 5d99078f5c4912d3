"""One trial: members talk in rooms, faults happen, and what was recorded is checked."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from typing import Any, Final

from pymongo.errors import PyMongoError

from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.conversation import messages_of
from ashchat_dev.waiting import until
from ashchat_e2e.backends import Database
from ashchat_e2e.histories.checks import shown
from ashchat_e2e.histories.guest import Guest
from ashchat_e2e.histories.link import Link
from ashchat_e2e.histories.member import (
    Member,
    Named,
    Outsider,
    deletion,
    membership,
    reaction,
    through,
)
from ashchat_e2e.histories.records import (
    DELETE,
    EDIT,
    MEMBERS,
    MESSAGE,
    REACTION,
    Count,
    Entry,
    Pages,
    Roles,
    Run,
)
from ashchat_e2e.histories.succession import Succession
from ashchat_e2e.people import PersonFactory

OK, CREATED = 200, 201
GROUP: Final = 3
"""Members of a group who talk."""

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
    successions: list[Succession] = field(default_factory=list)

    async def through(self, faults: Callable[[], Awaitable[None]]) -> None:
        """Let everybody be active while faults happen; then let them finish."""
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            staying = [tasks.create_task(member.stay()) for member in self.members]
            staying.append(tasks.create_task(self.outsider.pry()))
            living = [tasks.create_task(member.live(over)) for member in self.members]
            living += [tasks.create_task(each.reign(over)) for each in self.successions]
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
        self.run.counts = [each for member in self.members for each in await counted(member)]
        self.run.roles = [await roles(member) for member in self.members]
        # A guest sees nothing from before the last time that they were added.
        talking = [member for member in self.members if not isinstance(member, Guest)]
        self.run.pages = [await paged(member) for member in talking]
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
    until = log[-1].rev
    own = shown(log, member.person.user_id, member.person.language, until)
    if own and (member.rev or 0) < own[-1].rev:
        return False
    member.stays[-1].drained_to = until
    return True


@asynccontextmanager
async def trial(
    person: PersonFactory, url: str, *, direct: int, groups: int, seed: str
) -> AsyncIterator[Trial]:
    """Create direct rooms, groups of three with a guest each, and an outsider.

    Args:
        person: Creates the users.
        url: The platform's URL, which the links lead to.
        direct: How many direct rooms.
        groups: How many groups.
        seed: What the members draw their actions with.
    """
    run = Run()
    eve = await person("Eve", "en")
    async with AsyncExitStack() as stack:
        found = Trial([], Outsider(eve, (), run), [], run)

        async def users(name: str, count: int) -> list[Person]:
            languages = islice(cycle(LANGUAGES), count)
            made = [
                person(f"{language}{name}{at}", language) for at, language in enumerate(languages)
            ]
            return list(await asyncio.gather(*made))

        async def enter(user: Person, room: str, owner: Person | None = None) -> Member:
            link = Link(url)
            await stack.enter_async_context(link.serve())
            found.links.append(link)
            draw = random.Random(f"{seed} {user.name}")  # noqa: S311 (a sample)
            who = through(user, link)
            member = (
                Member(who, room, run=run, draw=draw)
                if owner is None
                else Guest(who, room, run=run, draw=draw, owner=owner)
            )
            found.members.append(member)
            return member

        for number in range(direct):
            pair = await users(f"d{number}", 2)
            room = await pair[0].open_chat(await pair[1].tag())
            found.rooms.append(room)
            for user in pair:
                await enter(user, room)
        for number in range(groups):
            *talking, guest = await users(f"g{number}", GROUP + 1)
            named = [Named(user.user_id, await user.tag()) for user in (*talking, guest)]
            room = await _group(talking[0], [each.tag for each in named[1:]])
            found.rooms.append(room)
            for user in talking:
                member = await enter(user, room)
                member.others = [each for each in named[:-1] if each.user_id != user.user_id]
            await enter(guest, room, talking[0])
            first, second, third = talking
            found.successions.append(Succession(room, first, second, third, run))
        found.outsider.rooms = tuple(found.rooms)
        yield found


async def _group(owner: Person, tags: Sequence[str]) -> str:
    """Create a group whose new members see nothing from before; return its id.

    Raises:
        RequestRefusedError: It was not created.
    """
    body = {
        "client_id": str(uuid.uuid4()),
        "name": "Casa",
        "history": "joined",
        "members": list(tags),
    }
    reply = await owner.chat.post("/groups", json=body)
    if reply.status != CREATED:
        raise RequestRefusedError("groups", reply)
    return str(reply.body["id"])


async def read_log(database: Database, room: str) -> list[Entry]:
    """Return a room's log from the store."""
    found = await database["events"].find({"room": room}).sort([("rev", 1)]).to_list()
    standing: dict[str, str] = {}
    ids: dict[int, str] = {}
    log = []
    for document in found:
        founding = not standing
        for change in document.get("changes", ()):
            standing.pop(change["user"], None)
            if change.get("role"):
                standing[change["user"]] = change["role"]
        if document["kind"] == MESSAGE:
            ids[document["rev"]] = document["client_id"]
        each = entry(document, dict(standing), ids.get(document.get("about", 0)))
        log.append(replace(each, id=None) if founding else each)
    return log


def entry(document: Mapping[str, Any], standing: Mapping[str, str], about: str | None) -> Entry:
    """Return a stored event as a record.

    Args:
        document: The event.
        standing: The members from it on, and their roles.
        about: The client's id of the message that it is about.
    """
    kind = document["kind"]
    own = document.get("client_id") if kind in {MESSAGE, EDIT} else None
    message_id = f"{document['room']}.{document.get('about')}"
    if kind == DELETE:
        own = deletion(message_id)
    if kind == REACTION:
        own = reaction(message_id, document["by"], document["emoji"], on=document["on"])
    if kind == MEMBERS:
        first = document["changes"][0]
        own = membership(document.get("by"), first["user"], first.get("role"))
    return Entry(
        document["rev"],
        kind,
        own,
        document.get("sender", document.get("by")),
        document.get("n"),
        about if own is not None and kind != MESSAGE else None,
        document.get("about"),
        language=document.get("target"),
        members=frozenset(standing) if kind == MEMBERS else None,
        roles=standing if kind == MEMBERS else None,
        emoji=document.get("emoji"),
        on=document.get("on"),
    )


async def counted(member: Member) -> list[Count]:
    """Return a member's counts by the list of rooms, and by the original's list of chats.

    Raises:
        RequestRefusedError: The service does not return them.
    """
    await _refreshed(member.person)
    found = []
    for path in ("rooms", "chats"):
        reply = await member.person.chat.get(f"/{path}")
        if reply.status != OK:
            raise RequestRefusedError(path, reply)
        (room,) = [each for each in reply.body[path] if each["id"] == member.chat_id]
        found.append(
            Count(
                member.chat_id,
                member.person.user_id,
                room["read_n"],
                member.acknowledged,
                room["unread_count"],
                room.get("mention_count"),
                room.get("role"),
            )
        )
    return found


async def roles(member: Member) -> Roles:
    """Return the roles of a room's members, as a member reads them.

    Raises:
        RequestRefusedError: The service does not return them.
    """
    reply = await member.person.chat.get(f"/rooms/{member.chat_id}")
    if reply.status != OK:
        raise RequestRefusedError(member.chat_id, reply)
    found = {each["user_id"]: each["role"] for each in reply.body["members"]}
    return Roles(member.chat_id, member.person.user_id, found)


async def paged(member: Member) -> Pages:
    """Return the messages as a member reads them page by page."""
    found = await messages_of(member.person, member.chat_id)
    reactions = {
        (each["id"], one["emoji"]): one["count"] for each in found for one in each["reactions"]
    }
    ids = tuple(each["id"] for each in found)
    return Pages(member.chat_id, member.person.user_id, ids, reactions)


async def _refreshed(person: Person) -> None:
    reply = await person.refresh()
    if reply.status != OK:
        raise RequestRefusedError("refresh", reply)
