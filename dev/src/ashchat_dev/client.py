"""A person at AshChat: signs up, signs in, calls the chat API, opens sockets.

The paths and fields are those of the original's clients, so what works here works there.
"""

import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx2

from ashchat_dev.authenticator import Authenticator
from ashchat_dev.environment import Environment
from ashchat_dev.http import http_client
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.phoenix import Channel, PhoenixSocket

_TIMEOUT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response: its status, its JSON body (None if there is none) and its duration."""

    status: int
    body: Any
    headers: Mapping[str, str]
    seconds: float

    @property
    def message(self) -> str:
        """The envelope's message for a person."""
        return str(self.body.get("message", "")) if isinstance(self.body, dict) else ""

    @property
    def data(self) -> Any:
        """The envelope's data."""
        return self.body.get("data") if isinstance(self.body, dict) else None

    @property
    def reason(self) -> str:
        """The machine-readable reason, in the envelope or in its data; empty if there is none."""
        for place in (self.body, self.data):
            if isinstance(place, dict) and isinstance(place.get("reason"), str):
                return str(place["reason"])
        return ""


class RequestRefusedError(RuntimeError):
    """A step that must succeed was refused."""

    def __init__(self, step: str, reply: Reply) -> None:
        super().__init__(f"{step}: HTTP {reply.status} {reply.body}")
        self.step = step
        self.reply = reply


class Api:
    """A JSON API below a base path; errors are returned, not raised."""

    def __init__(self, client: httpx2.AsyncClient, base: str) -> None:
        self._client = client
        self._base = base

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Reply:
        """Send a request and return the answer, whatever its status.

        Raises:
            httpx2.TransportError: The server was not reached.
        """
        started = time.monotonic()
        if json is not None:
            options["json"] = json
        answer = await self._client.request(
            method, f"{self._base}{path}", headers=dict(headers or {}), **options
        )
        try:
            body = answer.json() if answer.content else None
        except ValueError:
            body = answer.text
        return Reply(answer.status_code, body, answer.headers, time.monotonic() - started)


class ChatApi:
    """The chat API with a person's two headers."""

    def __init__(self, person: "Person", api: Api) -> None:
        self._person = person
        self._api = api

    async def request(self, method: str, path: str, **options: Any) -> Reply:
        """Send a request with the person's token and device.

        Raises:
            httpx2.TransportError: The server was not reached.
        """
        headers = {**self._person.headers, **(options.pop("headers", None) or {})}
        return await self._api.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> Reply:
        """GET."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Reply:
        """POST."""
        return await self.request("POST", path, **options)

    async def patch(self, path: str, **options: Any) -> Reply:
        """PATCH."""
        return await self.request("PATCH", path, **options)


def fresh_address(name: str) -> str:
    """Return an e-mail address that was never used (example.org is reserved, RFC 2606)."""
    letters = "".join(letter for letter in name.lower() if letter.isascii() and letter.isalnum())
    return f"{letters or 'person'}.{secrets.token_hex(4)}@example.org"


# More than 12 methods: one for each operation of the API that a user performs.
@dataclass(eq=False)
class Person:
    """A user with a name, a language, an address and one device."""

    environment: Environment
    name: str
    language: str
    email: str = ""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    device_token: str = field(default_factory=lambda: str(uuid.uuid4()))
    notification_token: str = field(default_factory=lambda: f"push-{secrets.token_hex(8)}")
    device_os: str = "ANDROID"
    token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    user_id: str = ""

    def __post_init__(self) -> None:
        """Create a user with a dedicated address and dedicated connections."""
        self.email = self.email or fresh_address(self.name)
        self._client = http_client(self.environment.url, timeout=_TIMEOUT_SECONDS)
        self._sockets: list[PhoenixSocket] = []
        self.auth = Api(self._client, "/auth/api/user")
        self.anonymous = Api(self._client, "")
        self.chat = ChatApi(self, Api(self._client, "/chat/api"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the sockets and connections."""
        for socket in self._sockets:
            await socket.close()
        self._sockets.clear()
        await self._client.aclose()

    @property
    def headers(self) -> dict[str, str]:
        """The two headers of each call of the chat API."""
        return {"Authorization": f"Bearer {self.token}", "device_token": self.device_token}

    @property
    def device(self) -> dict[str, str]:
        """The three device fields of confirm-email and confirm-new-device."""
        return {
            "deviceTokenId": self.device_token,
            "deviceNotificationToken": self.notification_token,
            "deviceOS": self.device_os,
        }

    async def signup(self) -> Reply:
        """Ask for an account: 202, and a code comes by mail."""
        return await self.auth.request(
            "POST",
            "/signup",
            json={
                "name": self.name,
                "password": self.password,
                "email": self.email,
                "preferredLanguage": self.language,
            },
        )

    async def confirm_email(self, code: str) -> Reply:
        """Confirm the code: 201, the account is created."""
        return await self.auth.request(
            "POST",
            "/confirm-email",
            json={"email": self.email, "emailCode": code, **self.device},
        )

    async def signin(self) -> Reply:
        """Sign in with this device: 200 and tokens (kept), or 403 and a temporary token."""
        reply = await self.auth.request(
            "POST",
            "/signin",
            json={
                "email": self.email,
                "password": self.password,
                "deviceTokenId": self.device_token,
            },
        )
        if reply.status == httpx2.codes.OK:
            self.token = reply.data["token"]
            self.refresh_token = reply.data["refresh_token"]
            self.user_id = reply.data["user_id"]
        return reply

    async def confirm_new_device(self, code: str, temporary: str) -> Reply:
        """Confirm this device: 204."""
        return await self.auth.request(
            "POST",
            "/confirm-new-device",
            json={"emailCode": code, **self.device},
            headers={"Authorization": f"Bearer {temporary}"},
        )

    async def refresh(self) -> Reply:
        """Get new tokens (kept) for the refresh token: 200."""
        reply = await self.auth.request(
            "GET",
            "/refresh-token",
            headers={
                "Authorization": f"Bearer {self.refresh_token}",
                "device_token": self.device_token,
            },
        )
        if reply.status == httpx2.codes.OK:
            self.token = reply.data["token"]
            self.refresh_token = reply.data["refresh_token"]
        return reply

    async def register(self, mailbox: Mailbox, *, within: float = 30.0) -> Self:
        """Sign up, give the code from the mail, sign in.

        Raises:
            RequestRefusedError: A step was refused.
            NoMailError: The code did not arrive.
        """
        _expect("signup", await self.signup(), httpx2.codes.ACCEPTED)
        code = await mailbox.code_for(self.email, within=within)
        _expect("confirm-email", await self.confirm_email(code), httpx2.codes.CREATED)
        _expect("signin", await self.signin(), httpx2.codes.OK)
        return self

    async def enrol_authenticator(self) -> Authenticator:
        """Enable two-factor with the new authenticator's code.

        Raises:
            RequestRefusedError: A step was refused.
        """
        begun = await self._own("POST", "/two-factor", password=self.password)
        _expect("two-factor", begun, httpx2.codes.OK)
        authenticator = Authenticator(begun.data["secret"])
        confirmed = await self._own("POST", "/two-factor/confirm", totpCode=authenticator.code())
        _expect("two-factor/confirm", confirmed, httpx2.codes.OK)
        return authenticator

    async def sign_in_with(self, authenticator: Authenticator) -> Self:
        """Sign in on a device that is new to an account with two-factor.

        Raises:
            RequestRefusedError: A step was answered otherwise than it should: no code of the
                authenticator was wanted, or it was not right.
        """
        asked = await self.signin()
        _expect("signin on a new device", asked, httpx2.codes.FORBIDDEN)
        if asked.reason != "new_device_totp":
            raise RequestRefusedError("signin on a new device", asked)
        reply = await self.confirm_new_device(authenticator.code(), asked.data["token"])
        _expect("confirm-new-device", reply, httpx2.codes.NO_CONTENT)
        _expect("signin", await self.signin(), httpx2.codes.OK)
        return self

    def on_another_device(self) -> "Person":
        """Return the same account on a new device."""
        return Person(self.environment, self.name, self.language, self.email, self.password)

    async def profile(self) -> dict[str, Any]:
        """Return the person's own chat profile.

        Raises:
            RequestRefusedError: The chat service does not return it.
        """
        reply = await self.chat.get("/user")
        _expect("profile", reply, httpx2.codes.OK)
        return dict(reply.body["user"])

    async def tag(self) -> str:
        """Return the tag by which others find this person.

        Raises:
            RequestRefusedError: The chat service does not return the profile.
        """
        return str((await self.profile())["tag_user_id"])

    async def open_chat(self, tag: str) -> str:
        """Create a chat with the owner of a tag and return its id.

        Raises:
            RequestRefusedError: The chat could not be created.
        """
        reply = await self.chat.post("/chat", json={"receiver_tag": tag})
        _expect("chat", reply, httpx2.codes.CREATED)
        return str(reply.body["chat_id"])

    async def found_group(self, name: str, tags: Sequence[str]) -> str:
        """Create a group with these users; return its id.

        Raises:
            RequestRefusedError: The service refused it.
            httpx2.TransportError: The server was not reached.
        """
        body = {"client_id": str(uuid.uuid4()), "name": name, "members": list(tags)}
        reply = await self.chat.post("/groups", json=body)
        _expect("group", reply, httpx2.codes.CREATED)
        return str(reply.body["id"])

    async def socket(self, *, token: str | None = None) -> PhoenixSocket:
        """Open a socket as the original's clients do; it is closed with the person.

        Raises:
            SocketRefusedError: The server refused it.
        """
        socket = PhoenixSocket(
            self.environment.socket_url,
            {
                "token": self.token if token is None else token,
                "device_unique_id": self.device_token,
                "preferred_language": self.language,
            },
        )
        await socket.connect()
        self._sockets.append(socket)
        return socket

    async def join_chat(
        self, chat_id: str, *, protocol: int = 2, socket: PhoenixSocket | None = None, **extra: Any
    ) -> Channel:
        """Join a chat on a socket (a new one by default) in that protocol.

        Raises:
            SocketRefusedError: The server refused the socket.
            JoinRefusedError: The server refused the join.
        """
        own = socket or await self.socket()
        # Protocol 1 is what a client speaks that says nothing, as the original's do.
        payload = {"protocol": protocol, **extra} if protocol > 1 else dict(extra)
        return await own.join(f"chat:{chat_id}", payload)

    async def _own(self, method: str, path: str, **body: str) -> Reply:
        return await self.auth.request(method, path, json=body, headers=self.headers)


def _expect(step: str, reply: Reply, status: int) -> None:
    if reply.status != status:
        raise RequestRefusedError(step, reply)
