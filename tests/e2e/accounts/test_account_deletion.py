"""A deleted account leaves nothing in chat and static; the other user keeps a working chat."""

import asyncio
import hashlib
import json
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from ashchat_core.messages import AccountDeletion, ConfirmNewAccount
from ashchat_core.topology import Queue, Service
from ashchat_dev.client import Person
from ashchat_dev.environment import Environment
from ashchat_dev.http import http_client
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import Channel, SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.backends import Database, MongoAs, RabbitManagement
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.pictures import png
from ashchat_e2e.queues import Publish, publisher

UPLOADS = "/var/lib/ashchat/uploads"
PYTHON = "/opt/ashchat/bin/python"
LIST = f"import os; print(*(os.path.join(d, n) for d, _, f in os.walk('{UPLOADS}') for n in f))"

EXPIRED_S = 75
"""Presence that a pod reported just before the deletion expires in 60 s, and so do the events of a
room without new ones."""


@dataclass(frozen=True)
class Story:
    """Two users who have exchanged messages; Ana is about to delete her account."""

    ana: Person
    ben: Person
    chat_id: str
    here: Channel
    """Ben's open chat channel, protocol 2."""
    old: Channel
    """Ben's open chat channel, protocol 1."""
    words: str
    """Words that only Ana wrote."""
    files: tuple[str, ...]
    """The URLs of her uploads."""


@pytest_asyncio.fixture(loop_scope="session")
async def as_auth(cluster: Cluster) -> AsyncIterator[Publish]:
    """Return a publisher that uses auth's credentials."""
    async with publisher(cluster, Service.AUTH) as publish:
        yield publish


async def send(channel: Channel, text: str) -> None:
    reply = await channel.push(
        "send_message", {"content": text, "mobile_ref_id": str(uuid.uuid4())}
    )
    assert reply.status == "ok", reply


@pytest.fixture(scope="module")
def deleted() -> list[Story]:
    """Return the stories of this module whose accounts were deleted, in order."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def story(person: PersonFactory, where: Environment) -> Story:
    """Let two users exchange messages, and use every feature that stores data."""
    ana, ben = await person("Ana", "es"), await person("Ben", "en")
    chat_id = await ana.open_chat(await ben.tag())
    socket = await ana.socket()
    await socket.join(f"notifications:{ana.user_id}")
    await socket.join("presence:lobby")
    hers = await ana.join_chat(chat_id, socket=socket)
    here, old = await ben.join_chat(chat_id), await ben.join_chat(chat_id, protocol=1)
    # Not a word in any language, so that the translation leaves it unchanged.
    words = "".join(secrets.choice("bcdfgklmpqrtvxz") for _ in range(12))
    for number in range(5):
        await send(hers, f"Hola {words}, {number}")
        await send(here, f"kept {number}")
    await hers.push("ack", {"n": 3})
    # These have translations, which must be erased too.
    await here.wait("event", lambda event: event.get("kind") == "translation", within=60)
    shared = png()
    photo = await ana.chat.patch("/user/photo", files={"photo": ("me.png", shared, "image/png")})
    assert photo.status == 200, photo.body
    files = [str(photo.body["url"])]
    async with http_client(where.url, timeout=30) as client:
        # Ben uploads the same image: his copy must remain.
        for who, content in ((ana, png()), (ben, shared)):
            answer = await client.post("/files", content=content, headers=who.headers)
            assert answer.status_code == 201, answer.text
            files.append(str(answer.json()["url"]))
    return Story(ana, ben, chat_id, here, old, words, tuple(files))


async def in_mongodb(database: Database, *words: str) -> list[str]:
    """Return where any of these words is stored, in any collection."""
    found = []
    for name in await database.list_collection_names():
        async for document in database[name].find():
            text = str(document)
            found += [f"{name}: {text[:200]}" for word in words if word in text]
    return found


async def in_redis(redis: Redis, *words: str) -> list[str]:
    """Return the chat service's Redis keys that contain any of these words in name or value."""
    found = []
    async for key in redis.scan_iter("chat:*"):
        value: Any
        match kind := str(await redis.type(key)):
            case "zset":
                value = await redis.zrange(key, 0, -1)
            case "stream":
                value = await redis.xrange(key)
            case "none":
                continue
            case _:
                assert kind == "string", f"{key} is a {kind}, which this test cannot read"
                value = await redis.get(key)
        found += [f"{key}: {value}" for word in words if word in f"{key} {value}"]
    return found


async def on_the_volume(cluster: Cluster) -> list[str]:
    """Return all files that static stores."""
    (pod,) = await cluster.pods("static")
    return (await cluster.exec(pod, PYTHON, "-c", LIST, container="static")).split()


async def nothing_stored(
    story: Story, cluster: Cluster, chat: Database, where: Environment
) -> None:
    """Wait until none of Ana's data is stored, and assert that Ben's is still there."""
    ana = story.ana.user_id

    async def gone_from_mongodb() -> bool:
        return not await in_mongodb(chat, ana, story.words)

    owner = hashlib.sha256(ana.encode()).hexdigest()

    async def gone_from_the_volume() -> bool:
        files = await on_the_volume(cluster)
        hers = [name for name in files if owner in name or ana in name]
        return hers == [f"{UPLOADS}/.owners/{owner}/.gone"]

    await until(gone_from_mongodb, within=60, what="her data deleted from MongoDB")
    await until(gone_from_the_volume, within=60, what="her files deleted from the volume")
    async with http_client(where.url, timeout=30) as client:
        statuses = [(await client.get(url)).status_code for url in story.files]
    assert statuses == [404, 404, 200]


async def delete(as_auth: Publish, person: Person) -> None:
    """Publish the message that auth sends when an account is deleted."""
    about = AccountDeletion(user_id=person.user_id, at=datetime.now(UTC))
    for queue in (Queue.ACCOUNT_DELETION_CHAT, Queue.ACCOUNT_DELETION_STATIC):
        await as_auth(queue, about)


async def ben_keeps_a_room(story: Story) -> None:
    """Assert what Ben receives: live, by resuming, and over HTTP."""
    gone = (
        await story.here.wait(
            "event",
            lambda event: event["kind"] == "members" and event["rev"] > 1,
            within=30,
        )
    ).payload
    (placeholder,) = (change["user_id"] for change in gone["changes"] if change["role"])
    assert placeholder.startswith("deleted:")
    for channel in (story.here, story.old):
        info = await channel.wait(
            "receiver_info", lambda info: info["nickname"] == "deleted user", within=10
        )
        assert info.payload["tag_user_id"] == ""
    reply = await story.here.push("send_message", {"content": "?", "mobile_ref_id": "late"})
    assert (reply.status, reply.response["reason"]) == ("error", "receiver_deleted")

    again = await story.ben.join_chat(story.chat_id, since=0)
    assert again.response["reset"] is False
    await again.wait("event", lambda event: event["rev"] >= gone["rev"], within=15)
    words = [event for event in again.named("event") if event["kind"] == "message"]
    hers = [event for event in words if event["sender_id"] == placeholder]
    assert [(event["content"], event.get("erased")) for event in hers] == [("", True)] * 5
    kept = [f"kept {number}" for number in range(5)]
    assert [event["content"] for event in words if event not in hers] == kept

    page = (await story.ben.chat.get(f"/chats/{story.chat_id}/messages")).body
    assert story.words not in json.dumps(page)
    assert [one["content"] for one in page["messages"] if not one["erased"]] == kept
    (chat,) = (await story.ben.chat.get("/chats")).body["chats"]
    assert chat["receiver"]["id"] == placeholder
    assert chat["receiver"]["nickname"] == "deleted user"
    assert chat["unread_count"] == 0


async def test_nothing_is_left_and_the_other_user_keeps_the_chat(
    *,
    story: Story,
    deleted: list[Story],
    cluster: Cluster,
    redis_admin: Redis,
    mongo_as: MongoAs,
    where: Environment,
    as_auth: Publish,
) -> None:
    ana, chat = story.ana, await mongo_as("chat")
    tag = await ana.tag()
    hers = await ana.socket()
    assert await in_mongodb(chat, ana.user_id)
    await until(lambda: in_redis(redis_admin, ana.user_id), what="her presence stored in Redis")
    await delete(as_auth, ana)
    async with asyncio.timeout(5):
        end = await hers.closed
    assert (end.code, end.reason) == (4403, "session revoked")
    deleted.append(story)
    await nothing_stored(story, cluster, chat, where)
    await ben_keeps_a_room(story)

    # Her token has not expired, but chat and static both reject it.
    with pytest.raises(SocketRefusedError):
        await ana.socket()
    assert (await ana.chat.get("/user")).reason == "session_revoked"
    async with http_client(where.url, timeout=30) as client:
        late = await client.post("/files", content=png(), headers=ana.headers)
        assert (late.status_code, late.json()["reason"]) == (401, "session_revoked")
    # Other users can neither find her nor start a chat with her.
    assert (await story.ben.chat.get(f"/user/{ana.user_id}")).status == 404
    assert (await story.ben.chat.post("/chat", json={"receiver_tag": tag})).status == 404


async def test_a_redelivered_sign_up_does_not_restore_a_deleted_user(
    *,
    person: PersonFactory,
    rabbit: RabbitManagement,
    redis_admin: Redis,
    mongo_as: MongoAs,
    as_auth: Publish,
) -> None:
    ana, chat = await person("Ana", "es"), await mongo_as("chat")

    async def gone() -> bool:
        return not await in_mongodb(chat, ana.user_id)

    async def acknowledged() -> int:
        stats = (await rabbit.queue(Queue.CONFIRM_NEW_ACCOUNT)).get("message_stats", {})
        return int(stats.get("ack", 0))

    await delete(as_auth, ana)
    await until(gone, within=60, what="her profile deleted")
    before = await acknowledged()
    again = ConfirmNewAccount(
        user_id=ana.user_id, nickname="Ana", preferred_language="es", device_token_hash="0" * 64
    )
    await as_auth(Queue.CONFIRM_NEW_ACCOUNT, again)

    async def taken() -> bool:
        return await acknowledged() > before

    # The management API's counters lag by a few seconds.
    await until(taken, within=30, every=1, what="the message acknowledged")
    assert await gone()
    await delete(as_auth, ana)  # also delivered twice
    await until(gone, within=60, what="her profile deleted")
    assert not [key async for key in redis_admin.scan_iter(f"*{ana.user_id}*")]


async def test_pods_killed_during_a_deletion_finish_it(
    *,
    story: Story,
    deleted: list[Story],
    cluster: Cluster,
    mongo_as: MongoAs,
    where: Environment,
    as_auth: Publish,
) -> None:
    await delete(as_auth, story.ana)
    await cluster.kill("chat")
    await cluster.kill("static")
    await cluster.wait_ready(within=120)
    deleted.append(story)
    await nothing_stored(story, cluster, await mongo_as("chat"), where)


async def test_an_account_deleted_at_auth_is_deleted_everywhere(
    *,
    story: Story,
    deleted: list[Story],
    cluster: Cluster,
    mongo_as: MongoAs,
    where: Environment,
) -> None:
    ana = story.ana
    reply = await ana.auth.request(
        "DELETE", "", json={"password": ana.password}, headers=ana.headers
    )
    assert reply.status == 204, reply
    deleted.append(story)
    await nothing_stored(story, cluster, await mongo_as("chat"), where)
    await ben_keeps_a_room(story)
    users = await mongo_as("auth")

    async def gone_from_auth() -> bool:
        return not await in_mongodb(users, ana.user_id, ana.email)

    await until(gone_from_auth, within=60, what="her data deleted from auth")
    assert (await ana.signin()).status == 401


async def test_redis_keeps_nothing_of_deleted_accounts(
    story: Story, deleted: list[Story], redis_admin: Redis, as_auth: Publish
) -> None:
    """Checked once for the accounts of the tests above, too: it takes a minute."""
    await delete(as_auth, story.ana)
    for each in (*deleted, story):
        ana, words = each.ana.user_id, each.words

        async def gone(ana: str = ana, words: str = words) -> bool:
            return not await in_redis(redis_admin, ana, words)

        await until(gone, within=EXPIRED_S, what="her data deleted from Redis")
