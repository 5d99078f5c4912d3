"""Who may open a socket: tokens, tickets, origins, and how many sockets."""

import asyncio
import base64
import itertools
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users.revocations import Revocations, session_over
from ashchat_chat.wire import limits
from ashchat_core import origins
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.tokens import SOCKET_TICKET_TYPE, TokenVerifier
from chat_world import revocations
from wire_client import DeniedError, WireClient, connect
from wire_world import MemoryTickets, RecordingRules, denial, sockets_of

PHOENIX_TOKEN = "base64url.bearer.phx."


@pytest.fixture
def over() -> Revocations:
    return revocations()


@pytest.fixture
def tickets() -> MemoryTickets:
    return MemoryTickets()


@pytest.fixture
def opening(verifier: TokenVerifier, over: Revocations, tickets: MemoryTickets) -> Any:
    made: dict[str, Any] = {}

    def opening(allowed: str = "", **options: Any) -> Any:
        listed = origins.parse_list(allowed)
        if allowed not in made:
            made[allowed] = sockets_of(
                RecordingRules(), verifier, over, tickets, allowed_origins=listed
            )
        return connect(made[allowed], **options)

    return opening


@pytest.fixture
def ticket(key: ec.EllipticCurvePrivateKey) -> Callable[..., str]:
    def make(**changes: object) -> str:
        now = int(time.time())
        claims = {
            "iss": "issuer", "aud": "ashchat", "sub": "ana", "sid": "s", "epoch": 1, "iat": now,
            "nbf": now, "exp": now + 30, "jti": uuid.uuid4().hex, "until": now + 60, **changes,
        }  # fmt: skip
        headers = {"kid": "1", "typ": SOCKET_TICKET_TYPE}
        return jwt.encode(claims, key, algorithm="ES256", headers=headers)

    return make


def subprotocols(token: str) -> list[str]:
    """Return what `new Socket(url, {authToken})` of phoenix 1.8 asks for."""
    encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return ["phoenix", PHOENIX_TOKEN + encoded]


async def heartbeat(session: WireClient) -> None:
    session.send_json([None, "1", "phoenix", "heartbeat", {}])
    assert (await session.receive_json())[3] == "phx_reply"


async def test_a_token_in_the_subprotocols_opens_a_socket_and_phoenix_is_selected(
    opening: Any, token: Callable[..., str]
) -> None:
    device = {"device_unique_id": "device", "vsn": "2.0.0"}
    for params in (device, device | {"token": "not looked at"}):
        async with opening(params=params, subprotocols=subprotocols(token())) as session:
            assert session.subprotocol == "phoenix"
            await heartbeat(session)


async def test_a_token_in_the_subprotocols_still_needs_its_device(
    opening: Any, token: Callable[..., str]
) -> None:
    denied = await denial(opening(subprotocols=subprotocols(token())))
    assert denied.json()["reason"] == "missing_device_token"
    denied = await denial(opening(subprotocols=["phoenix", PHOENIX_TOKEN + "bm90IGEgdG9rZW4"]))
    assert denied.json()["reason"] == "token_malformed"


@pytest.mark.parametrize("in_subprotocol", [True, False])
async def test_a_ticket_opens_one_socket(
    opening: Any, ticket: Callable[..., str], *, in_subprotocol: bool
) -> None:
    made = ticket()
    how: dict[str, Any] = {"params": {"ticket": made}}
    if in_subprotocol:
        how = {"subprotocols": subprotocols(made)}
    async with opening(**how) as session:
        await heartbeat(session)
        denied = await denial(opening(**how))
    assert (denied.status_code, denied.json()["reason"]) == (401, "ticket_used")


async def test_a_ticket_is_checked_like_a_token(
    opening: Any, ticket: Callable[..., str], over: Revocations, tickets: MemoryTickets
) -> None:
    expired = ticket(exp=int(time.time()) - 60)
    denied = await denial(opening(params={"ticket": expired}))
    assert denied.json()["reason"] == "token_expired"
    tickets.away = True
    denied = await denial(opening(params={"ticket": ticket()}))
    assert (denied.status_code, denied.json()["reason"]) == (503, "unavailable")
    await over.revoke([session_over("s")])
    denied = await denial(opening(params={"ticket": ticket()}))
    assert denied.json()["reason"] == "session_revoked"


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("file://", "file://"),
        ("app://.", "app://."),
        ("null", "null"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("https://b\u00fccher.example", "https://xn--bcher-kva.example"),
        ("https://localhost", "https://localhost"),
    ],
)
async def test_an_app_that_is_listed_opens_a_socket_and_another_does_not(
    opening: Any, token: Callable[..., str], listed: str, sent: str
) -> None:
    params = {"token": token(), "device_unique_id": "device"}
    async with opening(listed, params=params, headers={"Origin": sent}) as session:
        await heartbeat(session)
    other = opening("https://app.example.org", params=params, headers={"Origin": sent})
    denied = await denial(other)
    assert (denied.status_code, denied.json()["reason"]) == (403, "origin_not_allowed")


async def test_a_refused_socket_leaves_one_line_in_the_log_without_secrets(opening: Any) -> None:
    with capture_logs() as lines:
        denied = await denial(opening(params={"token": "secret"}))
    assert denied.headers["Cache-Control"] == "no-store"
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("a socket was refused", "token_malformed")
    ]
    assert "secret" not in str(lines)


async def test_another_path_has_no_socket(opening: Any, token: Callable[..., str]) -> None:
    params = {"token": token(), "device_unique_id": "device"}
    denied = await denial(opening(url="/socket", params=params))
    assert (denied.status_code, denied.json()["reason"]) == (404, "not_found")


async def test_simultaneous_sockets_are_counted(
    opening: Any, token: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SOCKETS_PER_USER", 3)
    # Without a language, so that a profile is read between the question and the socket.
    params = {"token": token(), "device_unique_id": "device"}
    stay = asyncio.Event()

    async def one() -> str:
        try:
            async with opening(params=params):
                await stay.wait()
                return "opened"
        except DeniedError as denied:
            return str(denied.json()["reason"])

    tasks = [asyncio.create_task(one()) for _ in range(10)]
    async with asyncio.timeout(5):
        refused = [await one for one in itertools.islice(asyncio.as_completed(tasks), 7)]
    stay.set()
    assert refused == ["too_many_sockets"] * 7
    assert sorted(await asyncio.gather(*tasks))[:3] == ["opened"] * 3
    # Ended sockets are not counted.
    async with opening(params=params) as session:
        await heartbeat(session)


async def test_a_profile_that_cannot_be_read_is_503_and_not_counted(
    opening: Any, token: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: Any) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(RecordingRules, "profile", unavailable)
    params = {"token": token(), "device_unique_id": "device"}
    for _ in range(limits.SOCKETS_PER_USER + 1):
        denied = await denial(opening(params=params))
        assert (denied.status_code, denied.headers["Retry-After"]) == (503, "2")


async def test_a_network_that_asks_too_often_opens_no_socket_whatever_it_sends(
    verifier: TokenVerifier, over: Revocations, tickets: MemoryTickets, token: Callable[..., str]
) -> None:
    requests = NetworkRequests(3, "10.0.0.0/8")
    sockets = sockets_of(RecordingRules(), verifier, over, tickets, requests=requests)

    async def refused(address: str, **options: Any) -> DeniedError:
        headers = {"X-Forwarded-For": f"192.0.2.1, {address}"}
        return await denial(connect(sockets, headers=headers, **options))

    for url in ("/socket/websocket", "/nothing", "/socket/websocket"):
        assert (await refused("203.0.113.7", url=url)).status_code != 429
    params = {"token": token(), "device_unique_id": "device"}
    limited = await refused("203.0.113.7", params=params)
    assert (limited.status_code, limited.json()["reason"]) == (429, "too_many_requests")
    assert 0 < int(limited.headers["Retry-After"]) <= 20
    headers = {"X-Forwarded-For": "203.0.113.8"}
    async with connect(sockets, params=params, headers=headers) as session:
        await heartbeat(session)
