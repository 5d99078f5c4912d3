"""Users outside a chat cannot get in, and a token that is not ours grants nothing."""

import asyncio
import base64
import hashlib
import json
import time
import uuid
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ashchat_dev.conversation import converse
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.phoenix import JoinRefusedError, SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory
from ashchat_e2e.token_forger import Forger, status_with


async def test_a_stranger_cannot_join_a_chat_they_are_not_in(person: PersonFactory) -> None:
    ana, ben, eve = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Eve", "en")
    )
    chat_id = await ana.open_chat(await ben.tag())
    listening = await ben.join_chat(chat_id)
    for protocol in (1, 2):
        with pytest.raises(JoinRefusedError) as refused:
            await eve.join_chat(chat_id, protocol=protocol)
        assert refused.value.reason == "chat_not_found"
    # Messages sent there reach only Ben; Eve's chat list stays empty.
    await listening.push("send_message", {"content": "hi", "mobile_ref_id": str(uuid.uuid4())})
    assert (await eve.chat.get("/chats")).body["chats"] == []


async def test_a_stranger_cannot_tell_a_chat_that_exists_from_one_that_does_not(
    person: PersonFactory,
) -> None:
    ana, ben, eve = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Eve", "en")
    )
    chat_id = await ana.open_chat(await ben.tag())
    answers = []
    for wanted in (chat_id, str(uuid.uuid4())):
        with pytest.raises(JoinRefusedError) as refused:
            await eve.join_chat(wanted)
        answers.append(refused.value.response)
    assert answers[0] == answers[1]


async def test_a_stranger_cannot_send_into_a_chat_without_joining_it(
    person: PersonFactory,
) -> None:
    ana, ben, eve = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Eve", "en")
    )
    chat_id = await ana.open_chat(await ben.tag())
    listening = await ben.join_chat(chat_id, protocol=1)
    socket = await eve.socket()
    intrusion = {"content": "let me in", "mobile_ref_id": str(uuid.uuid4())}
    try:
        answer = await socket.request(f"chat:{chat_id}", "send_message", intrusion, "1", 3)
    except TimeoutError:
        pass  # Phoenix itself does not answer a push to a topic that was not joined
    else:
        assert answer.status == "error"
    known = {"content": "hello", "mobile_ref_id": str(uuid.uuid4())}
    ana_channel = await ana.join_chat(chat_id, protocol=1)
    await ana_channel.push("send_message", known)
    await listening.wait("receive_message")
    assert {told["sender_id"] for told in listening.named("receive_message")} == {ana.user_id}


async def test_users_cannot_join_the_notifications_of_others(person: PersonFactory) -> None:
    ana, eve = await asyncio.gather(person("Ana", "es"), person("Eve", "en"))
    socket = await eve.socket()
    with pytest.raises(JoinRefusedError):
        await socket.join(f"notifications:{ana.user_id}")
    own = await socket.join(f"notifications:{eve.user_id}")
    assert own.named("pending_notification") == []


async def test_the_chat_api_requires_the_token_and_the_device(person: PersonFactory) -> None:
    ana = await person()
    for headers, status in (
        ({"Authorization": "", "device_token": ana.device_token}, 401),
        ({"Authorization": "Bearer nonsense", "device_token": ana.device_token}, 401),
        ({"Authorization": f"Bearer {ana.token}", "device_token": ""}, 400),
        ({"Authorization": f"Bearer {ana.token}", "device_token": str(uuid.uuid4())}, 401),
    ):
        assert (await ana.chat.get("/user", headers=headers)).status == status, headers


@pytest_asyncio.fixture(loop_scope="session")
async def forger(cluster: Cluster) -> Forger:
    """Read the signing key from its Secret, as only an administrator can."""
    return await Forger.of(cluster)


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token with `alg: none`, built by hand because libraries refuse to make one."""

    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{part(claims)}."


def signed_with_the_public_key(key: ec.EllipticCurvePrivateKey, claims: dict[str, Any]) -> str:
    """Return an HS256 token whose secret is the published key: the classic confusion attack."""
    import hmac

    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def part(value: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "typ": "at+jwt"}) + b"." + part(claims)
    digest = hmac.new(public, signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


async def test_an_invalid_token_is_rejected_by_api_and_socket(
    person: PersonFactory, forger: Forger
) -> None:
    ana = await person()
    now = int(time.time())
    # The forger can make a valid token, so each token below is rejected for its one fault.
    assert await status_with(ana, forger.token(ana)) == 200
    await (await ana.socket(token=forger.token(ana))).close()
    ours = forger.claims(ana)
    stranger = ec.generate_private_key(ec.SECP256R1())
    rsa_key = rsa.generate_private_key(65537, 2048)
    wrong = {
        "expired": forger.token(ana, iat=now - 3600, nbf=now - 3600, exp=now - 120),
        "not valid yet": forger.token(ana, nbf=now + 600),
        "without expiry": forger.token(ana, exp=None),
        "for another audience": forger.token(ana, aud="elsewhere"),
        "without audience": forger.token(ana, aud=None),
        "of another issuer": forger.token(ana, iss="elsewhere"),
        "of another type": forger.token(ana, type="REFRESH"),
        "typ JWT": forger.token(ana, typ="JWT"),
        "alg none": unsigned(ours),
        "alg HS256 with the published key": signed_with_the_public_key(forger.key, ours),
        "alg RS256": jwt.encode(
            ours, rsa_key, algorithm="RS256", headers={"kid": forger.kid, "typ": "at+jwt"}
        ),
        "another's key under our kid": jwt.encode(
            ours, stranger, algorithm="ES256", headers={"kid": forger.kid, "typ": "at+jwt"}
        ),
        "an unknown kid": jwt.encode(
            ours, stranger, algorithm="ES256", headers={"kid": "other", "typ": "at+jwt"}
        ),
        "a temporary token": forger.token(ana, type="TEMPORARY"),
        "the refresh token": ana.refresh_token,
    }
    accepted = [name for name, token in wrong.items() if await status_with(ana, token) != 401]
    assert not accepted, f"the API accepted: {accepted}"
    for name, token in wrong.items():
        with pytest.raises(SocketRefusedError) as refused:
            await ana.socket(token=token)
        assert refused.value.status in {401, 403}, name


async def test_a_socket_ends_when_its_token_does(person: PersonFactory, forger: Forger) -> None:
    ana = await person()
    socket = await ana.socket(token=forger.token(ana, exp=int(time.time()) + 3))
    async with asyncio.timeout(30):
        closed = await socket.closed
    assert closed.code == 4401, closed


async def test_tokens_are_verified_while_auth_is_down(
    cluster: Cluster, person: PersonFactory
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())

    async def auth_is_down() -> bool:
        reply = await ana.anonymous.request("GET", "/auth/.well-known/jwks.json")
        return reply.status in {502, 503, 504}

    async with cluster.spec({"auth": {"replicas": 0}}):
        await until(auth_is_down, what="auth unavailable")
        assert (await ana.chat.get("/user")).status == 200
        await converse(ana, ben, chat_id)
        bad = {"Authorization": "Bearer nonsense"}
        assert (await ana.chat.get("/user", headers=bad)).status == 401
        assert await auth_is_down()
