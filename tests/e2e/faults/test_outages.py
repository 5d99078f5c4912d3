"""What sign-ups need is away for a while: clear answers, nothing lost, nothing twice."""

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
"""Longer than the slowest answer may take, or a call that waits for the end would pass."""

EVERY_S = 1.5
"""Between two people who begin to sign up."""

OVER_S = 4.0
"""How long people go on beginning after it is over."""

PATIENCE_S = 150.0
SLOWEST_S = 15.0
"""An answer that takes longer is as bad as none."""

BACKENDS = ("rabbitmq", "redis", "mongodb")
Measure = Callable[[str, float], None]
Away = Callable[[Cluster], AbstractAsyncContextManager[None]]


@dataclass(eq=False)
class Patient:
    """Somebody who signs up, and waits where they are told to."""

    person: Person
    mailbox: Mailbox
    refused: list[Reply] = field(default_factory=list)
    accepted: int = 0
    slowest: float = 0.0

    async def sign_up(self) -> None:
        """From nothing to signed in.

        Raises:
            AssertionError: an answer was none that the description has, or came too late.
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
            # 400: a 503 had asked for a code all the same, and the newer one is on its way.
            # 409: an answer that was lost on its way was a 201.
            reply = await self._until(
                partial(self.person.confirm_email, mail.code or ""), 201, 400, 409
            )
            confirmed = reply.status != httpx2.codes.BAD_REQUEST
        await self._until(self.person.signin, 200)

    async def mails(self) -> list[Mail]:
        """Return what they were mailed."""
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
async def test_a_backend_is_away_in_the_middle_of_sign_ups(
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
        await until(lambda: len(people) >= 3, what="the first people")
        async with away(what)(cluster):
            await asyncio.sleep(AWAY_S)
        back = time.monotonic()
        await cluster.wait_ready(within=120)
        await asyncio.sleep(OVER_S)
        over.set()
    measure(f"{what} back after {AWAY_S:g} s, everybody signed in", time.monotonic() - back)
    measure(f"{what} away, slowest answer", max(one.slowest for one in people))

    assert len(people) >= AWAY_S / EVERY_S
    refused = [reply for one in people for reply in one.refused]
    if what in BACKENDS:
        assert refused, f"nobody noticed that {what} was away"
    else:
        assert refused == [], "sign-ups do not wait for the mail server"
    assert max(one.slowest for one in people) < SLOWEST_S
    for one in people:
        mails = await one.mails()
        # Nothing twice: the same mail came once, and none that nobody asked for.
        assert len({mail.message_id for mail in mails}) == len(mails), mails
        asked = one.accepted + sum(reply.status == 503 for reply in one.refused)
        assert 1 <= len(mails) <= asked
