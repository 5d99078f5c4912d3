"""RabbitMQ, MongoDB and Redis are killed under load: nothing acknowledged is lost."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from ashchat_dev.client import Person, Reply
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.history import History
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.resilient_client import Steadfast
from ashchat_e2e.traffic import NAMES, everything_read, lacking_translations, sentence

ROOMS = 2
EVERY_S = 0.2
AFTERWARDS = 5
"""Messages that each user sends after the backend is back."""

TRANSLATED_WITHIN_S = 90.0
SIGN_UP_WITHIN_S = 120.0

Measure = Callable[[str, float], None]


async def answered(step: Callable[[], Awaitable[Reply]], *statuses: int) -> Reply:
    """Repeat a step while a part of the platform is unavailable; return the final response."""

    async def tried() -> Reply | None:
        reply = await step()
        if reply.status in statuses:
            return reply
        # The documented response while something restarts, or the edge's while a pod does.
        assert reply.status in {502, 503, 504}, reply
        return None

    return await until(tried, within=SIGN_UP_WITHIN_S, every=0.5, what=f"a response of {statuses}")


async def sign_up(who: Person, mailbox: Mailbox) -> None:
    """Sign up as a patient user does: repeat each step until there is a response."""
    await answered(who.signup, 202)
    code = await mailbox.code_for(who.email, within=SIGN_UP_WITHIN_S)
    # A response that was lost may have been a 201.
    await answered(lambda: who.confirm_email(code), 201, 400, 409)
    await answered(who.signin, 200)

    async def profile() -> bool:
        return (await who.chat.get("/user")).status == 200

    await until(profile, within=SIGN_UP_WITHIN_S, what=f"the profile of {who.name} stored")


async def talk(who: Steadfast, stop: asyncio.Event) -> None:
    """Send messages until the event is set, and a few more afterwards."""
    number = 0
    left = AFTERWARDS
    while left:
        number += 1
        left -= stop.is_set()
        await who.send(sentence(who.person, number))
        await asyncio.sleep(EVERY_S)


@pytest.mark.parametrize("backend", ["rabbitmq", "mongodb", "redis"])
async def test_a_killed_backend_loses_nothing_and_what_was_in_flight_completes(
    *,
    cluster: Cluster,
    person: PersonFactory,
    mailbox: Mailbox,
    measure: Measure,
    backend: str,
) -> None:
    history = History()
    people = await asyncio.gather(
        *(person(f"{name}{room}", language) for room in range(ROOMS) for name, language in NAMES)
    )
    pairs = list(zip(people[::2], people[1::2], strict=True))
    chats = [await one.open_chat(await other.tag()) for one, other in pairs]
    # `half` has a code when the backend dies; the next user has yet to request one.
    half = person.names_only("Half", "es")
    await answered(half.signup, 202)
    code = await mailbox.code_for(half.email)
    late = person.names_only("Late", "en")
    async with AsyncExitStack() as stack:
        rooms = [
            (
                await stack.enter_async_context(Steadfast(one, chat, history)),
                await stack.enter_async_context(Steadfast(other, chat, history)),
            )
            for (one, other), chat in zip(pairs, chats, strict=True)
        ]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for room in rooms:
                for who in room:
                    tasks.create_task(talk(who, stop))
            await until(lambda: history.counts["acknowledged"] >= 8, what="a conversation")
            killed = time.monotonic()
            await cluster.kill(backend)
            signing_up = [
                tasks.create_task(sign_up(late, mailbox)),
                tasks.create_task(answered(lambda: half.confirm_email(code), 201, 400, 409)),
            ]
            await until(
                lambda: standing(cluster, backend), within=120, what=f"{backend} ready again"
            )
            measure(f"{backend} killed, ready again", time.monotonic() - killed)
            stop.set()
        measure(f"{backend} killed, every message stored", time.monotonic() - killed)
        assert all(task.done() for task in signing_up)
        await everything_read(rooms, history)
        history.check()
        await until(
            lambda: none_lacking(rooms),
            within=TRANSLATED_WITHIN_S,
            every=1,
            what="every message translated",
        )
        measure(f"{backend} killed, every message translated", time.monotonic() - killed)
    await answered(half.signin, 200)


async def standing(cluster: Cluster, backend: str) -> bool:
    """Return whether a backend has a ready pod again."""
    return bool(await cluster.pods(backend))


async def none_lacking(rooms: list[tuple[Steadfast, Steadfast]]) -> bool:
    """Return whether every message is translated for both users."""
    return await lacking_translations(rooms) == 0
