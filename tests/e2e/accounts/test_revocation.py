"""An ended session: its sockets close on every pod within 5 s, and its tokens are rejected."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import pytest_asyncio

from ashchat_core.messages import SessionRevoked
from ashchat_core.topology import Queue, Service
from ashchat_dev.client import Person
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import PhoenixSocket, SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.pictures import png
from ashchat_e2e.queues import Publish, publisher

CLOSE_S = 5.0
REVOKED = (4403, "session revoked")
Measure = Callable[[str, float], None]


@pytest_asyncio.fixture(loop_scope="session")
async def as_auth(cluster: Cluster) -> AsyncIterator[Publish]:
    """Return a publisher that uses auth's credentials."""
    async with publisher(cluster, Service.AUTH) as publish:
        yield publish


def session_of(token: str) -> str:
    """Return the session that an access token belongs to."""
    return str(jwt.decode(token, options={"verify_signature": False})["sid"])


async def sockets_on_all_pods(
    cluster: Cluster, person: Person, chat_id: str
) -> dict[str, PhoenixSocket]:
    """Open a socket on each chat pod."""
    pods = set(await cluster.pods("chat"))
    assert len(pods) >= 2, "the test needs more than one pod"
    found: dict[str, PhoenixSocket] = {}
    for _ in range(60):
        socket = await person.socket()
        channel = await socket.join(f"chat:{chat_id}", {"protocol": 2})
        found.setdefault(channel.response["pod"], socket)
        if set(found) == pods:
            return found
        if found[channel.response["pod"]] is not socket:
            await socket.close()
    raise AssertionError(f"sockets only on {sorted(found)} of {sorted(pods)}")


async def closed(sockets: dict[str, PhoenixSocket], *, within: float) -> None:
    """Assert that all sockets close with the code for a revoked session."""
    async with asyncio.timeout(within):
        ends = await asyncio.gather(*(asyncio.shield(one.closed) for one in sockets.values()))
    assert [(end.code, end.reason) for end in ends] == [REVOKED] * len(sockets)


async def refused(person: Person) -> None:
    """Assert that every pod rejects the token, for sockets and for requests."""
    for _ in range(6):
        with pytest.raises(SocketRefusedError) as error:
            await person.socket()
        assert error.value.status == 401
        reply = await person.chat.get("/user")
        assert (reply.status, reply.reason) == (401, "session_revoked")


async def two_sessions(person: PersonFactory) -> tuple[Person, Person, str]:
    """Return a user with a chat, the same user on another device, and the chat."""
    ana, ben = await person("Ana", "es"), await person("Ben", "en")
    chat_id = await ana.open_chat(await ben.tag())
    return ana, await person.on_another_device(ana), chat_id


def over(person: Person) -> SessionRevoked:
    return SessionRevoked(
        user_id=person.user_id, session_ids=(session_of(person.token),), at=datetime.now(UTC)
    )


async def test_sockets_on_every_pod_close_and_the_other_session_stays(
    *, cluster: Cluster, person: PersonFactory, as_auth: Publish, measure: Measure
) -> None:
    ana, old, chat_id = await two_sessions(person)
    ending = await sockets_on_all_pods(cluster, old, chat_id)
    staying = await sockets_on_all_pods(cluster, ana, chat_id)
    started = time.monotonic()
    await as_auth(Queue.SESSION_REVOKED_CHAT, over(old))
    await closed(ending, within=CLOSE_S)
    measure("session revoked until its sockets closed", time.monotonic() - started)
    await refused(old)
    for socket in staying.values():
        assert (await socket.heartbeat()).status == "ok"
    await ana.socket()
    assert (await ana.chat.get("/user")).status == 200
    # A duplicate of the message changes nothing.
    await as_auth(Queue.SESSION_REVOKED_CHAT, over(old))
    await refused(old)
    assert (await next(iter(staying.values())).heartbeat()).status == "ok"


async def test_pods_that_start_later_reject_it_as_well(
    cluster: Cluster, person: PersonFactory, as_auth: Publish
) -> None:
    ana, old, chat_id = await two_sessions(person)
    ending = await sockets_on_all_pods(cluster, old, chat_id)
    await as_auth(Queue.SESSION_REVOKED_CHAT, over(old))
    await closed(ending, within=CLOSE_S)
    await cluster.kill("chat")
    await cluster.wait_ready(within=120)
    await refused(old)
    assert (await ana.chat.get("/user")).status == 200


async def test_a_revocation_during_a_redis_outage_takes_effect_afterwards(
    cluster: Cluster, person: PersonFactory, as_auth: Publish
) -> None:
    ana, old, chat_id = await two_sessions(person)
    ending = await sockets_on_all_pods(cluster, old, chat_id)
    staying = await sockets_on_all_pods(cluster, ana, chat_id)
    await cluster.kill("redis")
    await as_auth(Queue.SESSION_REVOKED_CHAT, over(old))
    await cluster.wait_ready(within=120)
    await closed(ending, within=20)
    await refused(old)
    for socket in staying.values():
        assert (await socket.heartbeat()).status == "ok"


async def test_signing_out_closes_the_sockets(
    *, cluster: Cluster, person: PersonFactory, measure: Measure
) -> None:
    ana, old, chat_id = await two_sessions(person)
    ending = await sockets_on_all_pods(cluster, old, chat_id)
    staying = await sockets_on_all_pods(cluster, ana, chat_id)
    started = time.monotonic()
    assert (await old.auth.request("POST", "/signout", headers=old.headers)).status == 204
    await closed(ending, within=CLOSE_S)
    measure("sign-out until the last socket closed", time.monotonic() - started)
    await refused(old)
    for socket in staying.values():
        assert (await socket.heartbeat()).status == "ok"


async def test_ending_another_session_from_the_list_closes_its_sockets(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, old, chat_id = await two_sessions(person)
    ending = await sockets_on_all_pods(cluster, old, chat_id)

    async def listed() -> list[dict[str, Any]]:
        reply = await ana.auth.request("GET", "/sessions", headers=ana.headers)
        assert reply.status == 200
        return list(reply.data["sessions"])

    assert session_of(old.token) in {one["id"] for one in await listed()}
    reply = await ana.auth.request(
        "DELETE", f"/sessions/{session_of(old.token)}", headers=ana.headers
    )
    assert reply.status == 204
    await closed(ending, within=CLOSE_S)

    async def gone() -> bool:
        return session_of(old.token) not in {one["id"] for one in await listed()}

    await until(gone, what="the session removed from the list")
    assert (await ana.chat.get("/user")).status == 200


async def test_ending_all_other_sessions_ends_their_sockets_and_uploads(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, old, chat_id = await two_sessions(person)
    ending = await sockets_on_all_pods(cluster, old, chat_id)
    staying = await sockets_on_all_pods(cluster, ana, chat_id)
    reply = await ana.auth.request("DELETE", "/sessions", headers=ana.headers)
    assert (reply.status, reply.data["revoked"]) == (200, 1)
    await closed(ending, within=CLOSE_S)
    await refused(old)

    async def upload(who: Person) -> int:
        form = {"photo": ("a.png", png(), "image/png")}
        reply = await who.anonymous.request("POST", "/files", files=form, headers=who.headers)
        return reply.status

    async def refused_upload() -> bool:
        return await upload(old) == 401

    await until(refused_upload, what="an upload with the token of an ended session is refused")
    # The session that ended the others continues, with the token that it had.
    for socket in staying.values():
        assert (await socket.heartbeat()).status == "ok"
    assert await upload(ana) == 201
