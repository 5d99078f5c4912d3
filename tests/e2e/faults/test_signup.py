"""Sign-ups during outages of their dependencies: nothing lost, no duplicates, clear responses."""

import asyncio
import time
from collections.abc import Callable

from ashchat_core.topology import Queue
from ashchat_dev.client import Person, Reply
from ashchat_dev.kube.api import ApiError
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.outages import mail_server_away
from ashchat_e2e.people import PersonFactory

AWAY_S = 6.0
BURST = 12

Measure = Callable[[str, float], None]


async def held(cluster: Cluster) -> float:
    """Return how many sign-ups email holds because a dependency is unavailable."""
    pods = await cluster.pods("email")
    metrics = await asyncio.gather(*(cluster.metrics(pod) for pod in pods))
    queue = Queue.ACCOUNT_CREATION.value
    return sum(one.value("ashchat_amqp_held_messages", queue=queue) for one in metrics)


async def confirmed_once(who: Person, mailbox: Mailbox) -> None:
    """Assert that all mails are identical, and that their code creates the account."""
    code = await mailbox.code_for(who.email)
    mails = await mailbox.list(who.email)
    # The process may die between the server's 250 and recording it, and then sends it again.
    assert len({(mail.message_id, mail.code) for mail in mails}) == 1, mails
    assert (await who.confirm_email(code)).status == 201


async def test_mails_held_during_a_mail_server_outage_arrive_once(
    *, cluster: Cluster, person: PersonFactory, mailbox: Mailbox, measure: Measure
) -> None:
    people = [person.names_only(f"Patient{number}", "pt") for number in range(3)]
    async with mail_server_away(cluster):
        # Wait until the rule applies on the node: a mail delivered before that would not be held.
        async def unreachable() -> bool:
            await person.names_only("Probe", "en").signup()
            return await held(cluster) > 0

        await until(
            unreachable,
            within=60,
            every=1,
            what="email's connections refused",
            ignoring=(ApiError,),
        )
        for who in people:
            assert (await who.signup()).status == 202
        await until(lambda: all_held(cluster, len(people)), within=20, what="the sign-ups held")
        await asyncio.sleep(AWAY_S)
        assert [await mailbox.list(who.email) for who in people] == [[], [], []]
    back = time.monotonic()
    for who in people:
        await mailbox.code_for(who.email, within=60)
    measure("mail server back, held mails delivered", time.monotonic() - back)
    for who in people:
        assert len(await mailbox.list(who.email)) == 1
        await confirmed_once(who, mailbox)


async def all_held(cluster: Cluster, count: int) -> bool:
    """Return whether email holds at least this many sign-ups."""
    return await held(cluster) >= count


async def test_broker_outage_returns_503_and_every_accepted_sign_up_completes(
    *, cluster: Cluster, person: PersonFactory, mailbox: Mailbox, measure: Measure
) -> None:
    answers: list[tuple[Person, Reply]] = []
    stop = asyncio.Event()

    async def sign_up_one_after_the_other(name: str) -> None:
        while not stop.is_set():
            who = person.names_only(name, "es")
            answers.append((who, await who.signup()))
            await asyncio.sleep(0.2)

    killed = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for name in ("Ana", "Eva"):
            tasks.create_task(sign_up_one_after_the_other(name))
        await until(lambda: bool(answers), what="a first sign-up")
        await cluster.kill("rabbitmq")
        await cluster.wait_ready(within=180)
        started = len(answers)
        await until(
            lambda: any(reply.status == 202 for _, reply in answers[started:]),
            within=60,
            what="a sign-up accepted after the broker is back",
        )
        measure("broker killed, signing up again", time.monotonic() - killed)
        stop.set()
    for _, reply in answers:
        assert reply.status in {202, 503}, reply
        if reply.status == 503:
            assert reply.reason
            assert int(reply.headers["Retry-After"]) > 0
    accepted = [who for who, reply in answers if reply.status == 202]
    for who in accepted:
        await mailbox.code_for(who.email, within=60)
        await confirmed_once(who, mailbox)


async def test_email_killed_in_a_burst_of_sign_ups_loses_none(
    *, cluster: Cluster, person: PersonFactory, mailbox: Mailbox
) -> None:
    people = [person.names_only(f"Burst{number}", "en") for number in range(BURST)]
    signing_up = asyncio.gather(*(who.signup() for who in people))
    await cluster.kill("email")
    assert {reply.status for reply in await signing_up} == {202}
    for who in people:
        await mailbox.code_for(who.email, within=60)
    for who in people:
        await confirmed_once(who, mailbox)
