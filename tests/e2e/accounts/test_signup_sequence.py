"""The sequence of a sign-up, observed at every step.

The test binds its own queue to auth's exchange, in addition to the real ones, and so receives a
copy of every message that auth publishes, in order.
"""

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from redis.asyncio import Redis

from ashchat_core.topology import Queue
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.backends import Database, MongoAs, RabbitManagement
from ashchat_e2e.people import PersonFactory

PENDING = "email:signup:*"
SEQUENCE = (Queue.ACCOUNT_CREATION, Queue.CONFIRM_EMAIL_CODE, Queue.CONFIRM_NEW_ACCOUNT)


class Tap:
    """Copies of the messages that auth publishes for a sign-up, oldest first."""

    def __init__(self, rabbit: RabbitManagement, name: str) -> None:
        self._rabbit = rabbit
        self._name = name
        self.messages: list[dict[str, Any]] = []

    async def read(self) -> list[dict[str, Any]]:
        """Consume new messages, and return all messages so far."""
        self.messages += await self._rabbit.post(
            f"/api/queues/ashchat/{self._name}/get",
            {"count": 100, "ackmode": "ack_requeue_false", "encoding": "auto"},
        )
        return self.messages

    async def of(self, queue: Queue) -> list[dict[str, Any]]:
        """Return the bodies of the messages routed to a queue."""
        return [
            json.loads(message["payload"])
            for message in await self.read()
            if message["routing_key"] == queue
        ]

    async def order(self) -> list[str]:
        """Return the queues that messages were routed to, in order, without repetitions."""
        keys = [message["routing_key"] for message in await self.read()]
        return list(dict.fromkeys(keys))


@pytest_asyncio.fixture(loop_scope="session")
async def tap(rabbit: RabbitManagement) -> AsyncIterator[Tap]:
    """Bind a temporary queue in addition to the real ones; it is deleted after the test."""
    name = f"test.{secrets.token_hex(6)}"
    # The queue expires after a minute, in case the test is killed.
    await rabbit.put(
        f"/api/queues/ashchat/{name}", {"durable": True, "arguments": {"x-expires": 60_000}}
    )
    for queue in SEQUENCE:
        await rabbit.post(f"/api/bindings/ashchat/e/auth/q/{name}", {"routing_key": queue.value})
    yield Tap(rabbit, name)
    await rabbit.delete(f"/api/queues/ashchat/{name}")


async def user_of(users: Database, address: str) -> dict[str, Any] | None:
    """Return auth's document for an address."""
    return await users["users"].find_one({"email": address})


async def profile_of(profiles: Database, user_id: str) -> dict[str, Any] | None:
    """Return chat's document for a user."""
    return await profiles["profiles"].find_one({"_id": user_id})


async def counted(rabbit: RabbitManagement) -> dict[str, tuple[int, int]]:
    """Return how many messages were published to each queue, and how many were acknowledged."""
    found: dict[str, tuple[int, int]] = {}
    for queue in SEQUENCE:
        stats = (await rabbit.queue(queue)).get("message_stats", {})
        found[queue] = (stats.get("publish", 0), stats.get("ack", 0))
    return found


async def test_a_sign_up_goes_through_each_queue_redis_and_mongodb_in_order(
    *,
    person: PersonFactory,
    mailbox: Mailbox,
    rabbit: RabbitManagement,
    tap: Tap,
    redis_admin: Redis,
    mongo_as: MongoAs,
) -> None:
    redis, users, profiles = redis_admin, await mongo_as("auth"), await mongo_as("chat")
    counts_before = await counted(rabbit)
    ana = person.names_only("Ana", "es")

    # 1. auth → ACCOUNT_CREATION_QUEUE
    assert (await ana.signup()).status == 202
    (creation,) = await until(
        lambda: tap.of(Queue.ACCOUNT_CREATION), what="the message in ACCOUNT_CREATION_QUEUE"
    )
    assert creation["email"] == ana.email
    assert ana.password not in json.dumps(creation)

    # 2. email → Redis for 600 s, and the mail
    code = await mailbox.code_for(ana.email)
    pending = {key: await redis.hgetall(key) async for key in redis.scan_iter(PENDING)}
    ((key, kept),) = [one for one in pending.items() if ana.email in str(one[1])]
    assert 590 <= await redis.ttl(key) <= 600
    assert code not in str(kept), "the code is in Redis in plain text"
    assert ana.password not in str(kept)
    assert await tap.order() == [Queue.ACCOUNT_CREATION]
    assert await user_of(users, ana.email) is None, "the user exists before the code was confirmed"

    # 3. the code → auth → CONFIRM_EMAIL_CODE_QUEUE → email → auth
    # 4. auth → MongoDB: the user; 5. → CONFIRM_NEW_ACCOUNT_QUEUE → chat → MongoDB: the profile
    assert (await ana.confirm_email(code)).status == 201
    assert await tap.order() == list(SEQUENCE)
    (confirmed,) = await tap.of(Queue.CONFIRM_NEW_ACCOUNT)
    user = await user_of(users, ana.email)
    assert user is not None, "no user in MongoDB after 201"
    assert str(user["_id"]) == confirmed["user_id"]
    profile = await until(
        lambda: profile_of(profiles, confirmed["user_id"]), what="the profile in MongoDB"
    )
    assert (profile["nickname"], profile["language"]) == ("Ana", "es")

    # 6. auth publishes that it is settled, and email deletes the pending sign-up
    await until(lambda: gone(redis, key), what="the pending sign-up deleted")
    assert len(await tap.of(Queue.CONFIRM_EMAIL_CODE)) >= 2

    # Each real queue received and acknowledged the same messages as the copy.
    async def acknowledged() -> bool:
        now = await counted(rabbit)
        return all(
            now[queue][0] > counts_before[queue][0] and now[queue][1] > counts_before[queue][1]
            for queue in SEQUENCE
        )

    # The management API's counters lag by a few seconds.
    await until(acknowledged, within=30, every=1, what="each queue's counters rising")


async def gone(redis: Redis, key: str) -> bool:
    """Return whether a key no longer exists."""
    return not await redis.exists(key)


async def waiting_in(rabbit: RabbitManagement, queue: Queue) -> int:
    """Return how many messages are waiting in a queue."""
    return int((await rabbit.queue(queue)).get("messages_ready", 0))


async def test_without_email_the_sign_up_waits_in_its_queue_and_is_mailed_later(
    *,
    cluster: Cluster,
    person: PersonFactory,
    mailbox: Mailbox,
    rabbit: RabbitManagement,
) -> None:
    ana = person.names_only("Ana", "es")

    async def waits() -> bool:
        return await waiting_in(rabbit, Queue.ACCOUNT_CREATION) == 1

    async with cluster.spec({"email": {"replicas": 0}}):
        assert (await ana.signup()).status == 202
        await until(waits, within=30, every=1, what="the message in ACCOUNT_CREATION_QUEUE")
        assert await mailbox.list(ana.email) == []
    code = await mailbox.code_for(ana.email)
    assert (await ana.confirm_email(code)).status == 201


async def test_without_chat_the_user_is_stored_and_the_profile_follows(
    *,
    cluster: Cluster,
    person: PersonFactory,
    mailbox: Mailbox,
    rabbit: RabbitManagement,
    mongo_as: MongoAs,
) -> None:
    users, profiles = await mongo_as("auth"), await mongo_as("chat")
    ana = person.names_only("Ana", "es")
    assert (await ana.signup()).status == 202
    code = await mailbox.code_for(ana.email)

    async def waits() -> bool:
        return await waiting_in(rabbit, Queue.CONFIRM_NEW_ACCOUNT) == 1

    async with cluster.spec({"chat": {"replicas": 0}}):
        confirmed = await ana.confirm_email(code)
        # Auth waits five seconds for chat, then confirms anyway.
        assert confirmed.status == 201
        assert 4 <= confirmed.seconds <= 15
        await until(waits, within=30, every=1, what="the message in CONFIRM_NEW_ACCOUNT_QUEUE")
        user = await user_of(users, ana.email)
        assert user is not None, "no user in MongoDB"
        assert await profile_of(profiles, str(user["_id"])) is None
        assert (await ana.signin()).status == 200
    await until(lambda: profile_of(profiles, str(user["_id"])), what="the profile in MongoDB")
    assert (await ana.profile())["nickname"] == "Ana"
