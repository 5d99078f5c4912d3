"""What a hostile host and a hostile account send, each as one bounded action.

Runs in a pod with the operator's image, so it imports aiohttp and the standard library only.
"""

import asyncio
import io
import json
import random
import secrets
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import aiohttp

from ashchat_e2e.hostile.tally import Tally, reason_of

SLOW_SECONDS: Final = 25
"""How long a slow body lasts: longer than the platform waits for it."""

HELD_SECONDS: Final = 12.0
"""How long a connection is held without using it: longer than the edge waits for a request."""

FRAMES: Final = 400
"""Frames of a flood; a socket's burst is 300."""

LISTENS_SECONDS: Final = 3.0
BIG_BYTES: Final = 1_200_000
"""More than the largest body that is accepted outside uploads."""

LONG_TEXT: Final = "La casa es grande y el perro es negro. " * 200
"""Nearly as long as a message may be, to be translated."""


@dataclass(slots=True)
class Identity:
    """A signed-in user, and the chat that they write to."""

    email: str
    user_id: str
    token: str
    refresh_token: str
    device_token: str
    chat_id: str
    victim_tag: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a signed-in user's requests."""
        return {"Authorization": f"Bearer {self.token}", "device_token": self.device_token}


@dataclass(frozen=True, slots=True)
class Sample:
    """A request to an endpoint."""

    method: str
    path: str
    body: str | None
    """JSON, or what should be JSON."""


@dataclass(slots=True)
class Sender:
    """Who sends: a server's address, the means, and the victim's address."""

    base: str
    session: aiohttp.ClientSession
    tally: Tally
    victim: str
    draw: random.Random
    identity: Identity | None = None
    samples: Sequence[Sample] = ()

    @property
    def own(self) -> Identity:
        """The account.

        Raises:
            ValueError: This sender has none.
        """
        if self.identity is None:
            raise ValueError("this sender has no account")
        return self.identity

    async def call(self, action: str, method: str, path: str, **options: Any) -> bytes:
        """Send a request, count the answer, and return its body."""
        async with self.session.request(method, self.base + path, **options) as response:
            body = await response.read()
        self.tally.answer(
            action, response.status, reason_of(body), response.headers.get("Retry-After")
        )
        return body


Attack = Callable[[Sender], Awaitable[None]]
_USER: Final = "/auth/api/user"


def _fresh() -> str:
    return f"flood.{secrets.token_hex(6)}@example.org"


def _sign_up(email: str) -> dict[str, str]:
    return {
        "name": "Flood",
        "email": email,
        "password": secrets.token_urlsafe(12),
        "preferredLanguage": "en",
    }


def _device() -> dict[str, str]:
    return {
        "deviceTokenId": str(uuid.uuid4()),
        "deviceNotificationToken": "push-flood",
        "deviceOS": "ANDROID",
    }


# A host without an account


async def sign_up(who: Sender) -> None:
    """Request a sign-up of a new address."""
    await who.call("sign-up", "POST", f"{_USER}/signup", json=_sign_up(_fresh()))


async def sign_up_victim(who: Sender) -> None:
    """Request a sign-up of an address that has an account, to flood its mailbox."""
    await who.call("sign-up of a victim", "POST", f"{_USER}/signup", json=_sign_up(who.victim))


async def guess_password(who: Sender) -> None:
    """Sign in to the victim's account with a wrong password."""
    body = {
        "email": who.victim,
        "password": secrets.token_urlsafe(9),
        "deviceTokenId": str(uuid.uuid4()),
    }
    await who.call("wrong password", "POST", f"{_USER}/signin", json=body)


async def guess_account(who: Sender) -> None:
    """Sign in to an address without an account."""
    body = {
        "email": _fresh(),
        "password": secrets.token_urlsafe(9),
        "deviceTokenId": str(uuid.uuid4()),
    }
    await who.call("unknown account", "POST", f"{_USER}/signin", json=body)


async def guess_code(who: Sender) -> None:
    """Confirm the victim's address with a guessed code."""
    body = {"email": who.victim, "emailCode": f"{who.draw.randrange(10**6):06}", **_device()}
    await who.call("guessed code", "POST", f"{_USER}/confirm-email", json=body)


async def ask_reset(who: Sender) -> None:
    """Request a password reset of the victim's account."""
    await who.call("reset", "POST", f"{_USER}/password", json={"email": who.victim})


async def refresh_garbage(who: Sender) -> None:
    """Refresh with a token that was never issued."""
    headers = {
        "Authorization": f"Bearer {secrets.token_urlsafe(48)}",
        "device_token": str(uuid.uuid4()),
    }
    await who.call("refresh of garbage", "GET", f"{_USER}/refresh-token", headers=headers)


async def slow_body(who: Sender) -> None:
    """Send a body byte by byte."""
    headers = {"Content-Type": "application/json", "Content-Length": "1000"}
    await who.call(
        "slow body", "POST", f"{_USER}/signin", data=_trickle(SLOW_SECONDS), headers=headers
    )


async def _trickle(seconds: int) -> AsyncIterator[bytes]:
    for _ in range(seconds):
        yield b" "
        await asyncio.sleep(1)


async def big_body(who: Sender) -> None:
    """Send a body that is larger than any that is accepted."""
    await who.call(
        "big body",
        "POST",
        f"{_USER}/signin",
        data=io.BytesIO(b" " * BIG_BYTES),
        headers={"Content-Type": "application/json"},
    )


async def deep_body(who: Sender) -> None:
    """Send JSON that is nested deeply, to a service that the sender draws."""
    path = who.draw.choice((f"{_USER}/signin", "/chat/api/chat"))
    await who.call(
        "deep body",
        "POST",
        path,
        data=b"[" * 30_000,
        headers={"Content-Type": "application/json"},
    )


async def wander(who: Sender) -> None:
    """Request a path that does not exist, or a file that is not there."""
    path = who.draw.choice(("/files/", "/auth/", "/chat/api/chats/", "/")) + secrets.token_hex(16)
    await who.call("unknown path", who.draw.choice(("GET", "DELETE")), path)


async def upload_unsigned(who: Sender) -> None:
    """Upload without an account."""
    await who.call("upload without account", "POST", "/files", data=secrets.token_bytes(20_000))


async def socket_unsigned(who: Sender) -> None:
    """Open a socket with a token that is not valid."""
    await _socket(who, "socket without account", {"token": secrets.token_hex(40)}, [])


async def garbage(who: Sender) -> None:
    """Send what is not HTTP."""
    await _raw(who, "garbage", secrets.token_bytes(200) + b"\r\n\r\n", 2.0)


async def half_request(who: Sender) -> None:
    """Send the beginning of a request, and wait."""
    await _raw(who, "half request", b"GET / HTTP/1.1\r\nHost: a\r\nX-", HELD_SECONDS)


async def _raw(who: Sender, action: str, sent: bytes, seconds: float) -> None:
    parts = urlsplit(who.base)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(seconds):
            await reader.read(4_096)
    except TimeoutError:
        pass
    finally:
        writer.close()
    # The edge answers in its own words, or closes: neither is an answer of the platform.
    who.tally.broken[f"{action}: ended"] += 1


async def any_endpoint(who: Sender) -> None:
    """Send a request near a valid one to any endpoint."""
    sample = who.draw.choice(who.samples)
    headers = dict(who.own.headers) if who.identity else {}
    if sample.body is not None:
        headers["Content-Type"] = "application/json"
    await who.call("any endpoint", sample.method, sample.path, data=sample.body, headers=headers)


# An account


async def upload(who: Sender) -> None:
    """Upload a small file."""
    body = b"%PDF-1.4\n" + secrets.token_bytes(who.draw.choice((2_000, 200_000)))
    await who.call("upload", "POST", "/files", data=body, headers=who.own.headers)


async def upload_forbidden(who: Sender) -> None:
    """Upload a file of a type that is not accepted."""
    body = b"<html><script>" + secrets.token_bytes(2_000)
    await who.call("upload of a page", "POST", "/files", data=body, headers=who.own.headers)


async def slow_upload(who: Sender) -> None:
    """Upload a file byte by byte."""
    headers = {**who.own.headers, "Content-Length": "100000"}
    await who.call("slow upload", "POST", "/files", data=_trickle(SLOW_SECONDS), headers=headers)


async def refresh(who: Sender) -> None:
    """Refresh the session; the answer's tokens replace the sender's."""
    own = who.own
    headers = {"Authorization": f"Bearer {own.refresh_token}", "device_token": own.device_token}
    body = await who.call("refresh", "GET", f"{_USER}/refresh-token", headers=headers)
    data = json.loads(body or b"{}").get("data") or {}
    own.token = data.get("token", own.token)
    own.refresh_token = data.get("refresh_token", own.refresh_token)


async def read_chats(who: Sender) -> None:
    """Read the list of chats, or a chat."""
    path = who.draw.choice(("/chats", f"/chats/{who.own.chat_id}/messages?limit=100"))
    await who.call("reading", "GET", f"/chat/api{path}", headers=who.own.headers)


async def open_chat(who: Sender) -> None:
    """Open a chat with the victim, or with a guessed tag."""
    tag = who.draw.choice((who.own.victim_tag, f"ana_{secrets.token_hex(4)}"))
    body = {"receiver_tag": tag}
    await who.call("opening", "POST", "/chat/api/chat", json=body, headers=who.own.headers)


async def rename(who: Sender) -> None:
    """Change the nickname, which others are informed about."""
    body = {"nickname": f"Eve {who.draw.randrange(1_000)}"}
    path = "/chat/api/user/nickname"
    await who.call("renaming", "PATCH", path, json=body, headers=who.own.headers)


async def guess_own_password(who: Sender) -> None:
    """Begin two-factor with a wrong password: as a thief of the session would."""
    body = {"password": secrets.token_urlsafe(9)}
    await who.call("two-factor", "POST", f"{_USER}/two-factor", json=body, headers=who.own.headers)


async def flood_frames(who: Sender) -> None:
    """Send frames faster than a socket may."""
    own = who.own
    frames: list[Any] = [[None, "h", "phoenix", "heartbeat", {}]]
    chat = f"chat:{own.chat_id}"
    frames += [["1", "t", chat, "typing", {"is_typing": True}]]
    frames += [["1", "a", chat, "ack", {"n": 1}], ["1", "x", chat, "unknown", {"a": [1] * 50}]]
    texts = [json.dumps(frame) for frame in frames]
    sent = [who.draw.choice(texts) for _ in range(FRAMES)]
    await _socket(who, "flood of frames", _parameters(own), [_join(chat), *sent])


async def flood_messages(who: Sender) -> None:
    """Send long messages to the victim faster than a user may, all to be translated."""
    own = who.own
    chat = f"chat:{own.chat_id}"
    sent = [
        json.dumps(
            ["1", str(n), chat, "send_message", {"content": LONG_TEXT, "mobile_ref_id": _id()}]
        )
        for n in range(100)
    ]
    await _socket(who, "flood of messages", _parameters(own), [_join(chat), *sent])


async def malformed_frames(who: Sender) -> None:
    """Send a text that is not a valid frame."""
    text = who.draw.choice(("[", "{}", "[1,2,3]", '"' * 100, "[" * 2_000))
    await _socket(who, "malformed frame", _parameters(who.own), [text])


async def big_frame(who: Sender) -> None:
    """Send a frame that is larger than a frame may be."""
    text = json.dumps([None, "1", "phoenix", "heartbeat", {"a": "a" * 70_000}])
    await _socket(who, "big frame", _parameters(who.own), [text])


async def idle_socket(who: Sender) -> None:
    """Open a socket and do not use it; a user may have 20 on a pod."""
    await _socket(who, "idle socket", _parameters(who.own), [], HELD_SECONDS)


def _id() -> str:
    return str(uuid.uuid4())


def _join(topic: str) -> str:
    return json.dumps(["1", "1", topic, "phx_join", {"protocol": 2, "since": 0}])


def _parameters(own: Identity) -> dict[str, str]:
    return {"token": own.token, "device_unique_id": own.device_token}


async def _socket(
    who: Sender,
    action: str,
    parameters: dict[str, str],
    texts: list[str],
    seconds: float = LISTENS_SECONDS,
) -> None:
    """Open a socket, send frames, and read for some seconds or until the server closes it."""
    query = urlencode({**parameters, "preferred_language": "es", "vsn": "2.0.0"})
    url = f"{who.base}/chat/socket/websocket?{query}"
    # Without the upgrade's success, the response is an ordinary one, with a reason.
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    try:
        async with who.session.ws_connect(url, autoclose=True) as socket:
            try:
                for text in texts:
                    await socket.send_str(text)
                async with asyncio.timeout(seconds):
                    while not socket.closed:
                        await socket.receive()
            except (TimeoutError, ConnectionError):
                pass
            who.tally.answer(action, socket.close_code or 1000)
    except aiohttp.WSServerHandshakeError:
        await who.call(f"{action}, refused", "GET", url.removeprefix(who.base), headers=headers)


STRANGER: Final[dict[Attack, int]] = {
    sign_up: 8, sign_up_victim: 4, guess_password: 12, guess_account: 12, guess_code: 8,
    ask_reset: 4, refresh_garbage: 8, slow_body: 1, big_body: 1, deep_body: 4, wander: 12,
    upload_unsigned: 6, socket_unsigned: 6, garbage: 4, half_request: 1,
    any_endpoint: 25,
}  # fmt: skip
"""What a host without an account does, and how often of their sum."""

ACCOUNT: Final[dict[Attack, int]] = {
    upload: 12, upload_forbidden: 6, slow_upload: 1, refresh: 6, read_chats: 20, open_chat: 10,
    rename: 8, guess_own_password: 6, flood_frames: 2, flood_messages: 1, malformed_frames: 6,
    big_frame: 4, idle_socket: 2, any_endpoint: 25,
}  # fmt: skip
"""What a host with an account does, and how often of their sum."""
