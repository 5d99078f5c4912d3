"""Outages during sign-ups: clear responses, nothing lost, nothing duplicated."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial

import httpx2
import pytest

from ashchat_dev.client import Person, Reply
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mail, Mailbox, has_code
from ashchat_dev.waiting import until
from ashchat_e2e.outages import component_away, mail_server_away
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.sampling import whole

pytestmark = pytest.mark.slow

AWAY_S = 30.0 if whole() else 18.0
"""Longer than the slowest permitted response, so that a call that blocks until the end fails."""

EVERY_S = 1.5
"""Between two new sign-ups."""

OVER_S = 4.0
"""How long new sign-ups start after the outage."""

PATIENCE_S = 150.0
SLOWEST_S = 15.0
"""A response that takes longer counts as a failure."""

BACKENDS = ("rabbitmq", "redis", "mongodb")
NOTICED = ("rabbitmq", "mongodb")
"""Backends without which sign-ups are refused. Without Redis they wait in a queue, and only a code
that is checked at that moment is refused."""

Measure = Callable[[str, float], None]
Away = Callable[[Cluster], AbstractAsyncContextManager[None]]


@dataclass(eq=False)
class Patient:
    """A user who signs up, and who honours the server's Retry-After."""

    person: Person
    mailbox: Mailbox
    refused: list[Reply] = field(default_factory=list)
    accepted: int = 0
    slowest: float = 0.0

    async def sign_up(self) -> None:
        """Go through a whole sign-up and the first sign-in.

        Raises:
            AssertionError: A response was undocumented or too late.
        """
        await self._until(self.person.signup, 202)
        self.accepted += 1
        tried: set[str] = set()
        confirmed = False
        while not confirmed:
            mail = await self.mailbox.wait(
                self.person.email, has_code, after=tried, within=PATIENCE_S
            )
            tried.add(mail.id)
            # 400: a 503 requested a code nevertheless, and the newer code is on its way.
            # 409: a response that was lost was a 201.
            reply = await self._until(
                partial(self.person.confirm_email, mail.code or ""), 201, 400, 409
            )
            confirmed = reply.status != httpx2.codes.BAD_REQUEST
        await self._until(self.person.signin, 200)

    async def mails(self) -> list[Mail]:
        """Return the user's mails."""
        return await self.mailbox.list(self.person.email)

    async def _until(self, step: Callable[[], Awaitable[Reply]], *right: int) -> Reply:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                reply = await step()
                self.slowest = max(self.slowest, reply.seconds)
                if reply.status in right:
                    return reply
                assert reply.status in {429, 503}, reply
                assert reply.reason, reply
                wait = int(reply.headers["Retry-After"])
                assert wait > 0
                self.refused.append(reply)
                await asyncio.sleep(wait)


def away(what: str) -> Away:
    if what in BACKENDS:
        return lambda cluster: component_away(cluster, what)
    return mail_server_away


@pytest.mark.parametrize("what", [*BACKENDS, "mail server"])
async def test_backend_outage_during_sign_ups(
    *, cluster: Cluster, person: PersonFactory, mailbox: Mailbox, measure: Measure, what: str
) -> None:
    over = asyncio.Event()
    people: list[Patient] = []

    async def begin(group: asyncio.TaskGroup) -> None:
        while not over.is_set():
            people.append(Patient(person.names_only(f"Patient{len(people)}", "es"), mailbox))
            group.create_task(people[-1].sign_up())
            await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(begin(group))
        await until(lambda: len(people) >= 3, what="the first sign-ups")
        async with away(what)(cluster):
            await asyncio.sleep(AWAY_S)
        back = time.monotonic()
        await cluster.wait_ready(within=120)
        await asyncio.sleep(OVER_S)
        over.set()
    measure(f"{what} back after {AWAY_S:g} s, all users signed in", time.monotonic() - back)
    measure(f"{what} away, slowest response", max(one.slowest for one in people))

    assert len(people) >= AWAY_S / EVERY_S
    refused = [reply for one in people for reply in one.refused]
    if what in NOTICED:
        assert refused, f"no response reported that {what} was away"
    elif what not in BACKENDS:
        assert refused == [], "sign-ups do not wait for the mail server"
    assert max(one.slowest for one in people) < SLOWEST_S
    for one in people:
        mails = await one.mails()
        # No duplicates: each mail arrived once, and none that was not requested.
        assert len({mail.message_id for mail in mails}) == len(mails), mails
        asked = one.accepted + sum(reply.status == 503 for reply in one.refused)
        assert 1 <= len(mails) <= asked
