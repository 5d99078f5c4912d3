"""Handing mails to the SMTP server, and saying which kind of failure it was.

RFC 5321, section 4.2.1: 4yz is transient, 5yz is permanent. Connections are few, kept and
used again: a handshake, STARTTLS and a login cost more than the mail itself, and servers
count them.
"""

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Literal

import aiosmtplib
import structlog
from prometheus_client import Counter, Histogram

from ashchat_core.backoff import backoff
from ashchat_core.credentials import POLL_SECONDS, Credentials, MissingCredential
from ashchat_email.service import PermanentFailure, ServerAway, TemporaryFailure
from ashchat_email.settings import Settings

TIMEOUT_SECONDS = 15.0
CHECK_SECONDS = 3.0
"""How long a kept connection may take to show that it lives."""

CONNECTIONS = 4
"""How many there are at most. Servers allow few from one client (Postfix: 50, many: 10)."""

IDLE_SECONDS = 60.0
"""How long an unused connection is kept; a server closes after five minutes or more
(RFC 5321, section 4.5.3.2.7), and many sooner."""

REFUSED_FIRST_SECONDS, REFUSED_MAX_SECONDS = 5.0, 60.0
"""The pause after a refused login: a server that sees it tried on and on locks it."""

_CLOSING = 421
"""The server is closing its doors for now (RFC 5321, section 4.2.3)."""

_TEMPORARY, _PERMANENT = 400, 500

_NOT_THE_MAIL = (
    aiosmtplib.SMTPConnectResponseError,
    aiosmtplib.SMTPHeloError,
    aiosmtplib.SMTPSenderRefused,
)
"""Refusals of us, not of a mail: mails wait until somebody has set it right."""

_POLICY = re.compile(r"5\.7\.\d")
"""An enhanced code that is about security or policy (RFC 3463, section 3.8)."""

_MAILS = Counter("ashchat_email_mails_total", "Mail, by the mail server's response", ["outcome"])
_SECONDS = Histogram(
    "ashchat_email_smtp_delivery_duration_seconds", "Duration of one delivery to the mail server"
)
_CONNECTIONS = Counter(
    "ashchat_email_smtp_connections_total",
    "Connections to the mail server, by what became of them",
    ["event"],
)

Event = Literal["opened", "reused", "broken", "idle", "retired", "failed", "login_refused"]


@dataclass(frozen=True, slots=True)
class Login:
    """What the server is told about who we are."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    revision: str


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How often a login was refused, and until when it is not tried again."""

    times: int
    until: float


@dataclass(slots=True, eq=False)
class _Connection:
    client: aiosmtplib.SMTP
    login: Login | None
    used_at: float


class Mailer:
    """Sends by SMTP over a few kept connections.

    A login that changes is tried first; when the server takes it, it is used from then on
    and the connections of the old one end with what they are doing. While it is refused,
    the old one stays in use.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._login: Login | None = None
        self._login = self._given()
        self._proven = self._login is None
        self._refused: dict[Login, _Refusal] = {}
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._closed = False
        self._log = structlog.get_logger("smtp")

    async def send(self, message: EmailMessage) -> None:
        """Hand over a mail; return after the server's 250.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: see there.
        """
        with _SECONDS.time():
            async with self._slots:
                try:
                    await self._send(message)
                except ServerAway:
                    _MAILS.labels("server_away").inc()
                    raise
                except TemporaryFailure:
                    _MAILS.labels("later").inc()
                    raise
                except PermanentFailure:
                    _MAILS.labels("refused").inc()
                    raise
        _MAILS.labels("accepted").inc()

    async def run(self) -> None:
        """Follow the login and let idle connections go; until cancelled."""
        attempt = 0
        task = asyncio.current_task()
        # Python 3.11's wait_for, which aiosmtplib uses, may swallow a cancellation that comes
        # with the answer (https://github.com/python/cpython/issues/86296): so it is asked for.
        while task is None or not task.cancelling():
            attempt = 0 if await self._follow() else attempt + 1
            await self._let_go()
            await asyncio.sleep(max(POLL_SECONDS, backoff(attempt) if attempt else 0.0))

    async def close(self) -> None:
        """Say goodbye on every connection; those in use follow when they are done."""
        self._closed = True
        await self._end(self._idle, "retired")

    # mails

    async def _send(self, message: EmailMessage) -> None:
        connection = await self._take()
        whole = False
        try:
            await connection.client.send_message(message)
            whole = True
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            whole = True  # the library has reset the envelope, or found the connection lost
            raise _failure(error) from error
        finally:
            if whole:
                await self._give_back(connection)
            else:  # cancelled in the middle of a dialogue
                connection.client.close()

    # connections

    async def _take(self) -> _Connection:
        """Return a kept connection that lives, else a new one."""
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.client.rset(timeout=CHECK_SECONDS)
            except (aiosmtplib.SMTPException, OSError):
                connection.client.close()
                self._count("broken")
                continue
            except BaseException:
                connection.client.close()
                raise
            self._count("reused")
            return connection
        return await self._open(self._login)

    async def _give_back(self, connection: _Connection) -> None:
        connection.used_at = time.monotonic()
        if not connection.client.is_connected:
            self._count("broken")
        elif connection.login != self._login or self._closed:
            self._count("retired")
            await _quit(connection)
        else:
            self._idle.append(connection)

    async def _let_go(self) -> None:
        """End what was not used for long."""
        before = time.monotonic() - IDLE_SECONDS
        await self._end([kept for kept in self._idle if kept.used_at < before], "idle")

    async def _end(self, connections: list[_Connection], why: Event) -> None:
        """End kept connections; from the first moment on nobody else takes them."""
        self._idle = [kept for kept in self._idle if kept not in connections]
        for connection in connections:
            self._count(why)
            await _quit(connection)

    async def _open(self, login: Login | None) -> _Connection:
        """Connect and log in.

        Raises:
            ServerAway: it cannot be reached or trusted, or refuses the login.
        """
        refusal = self._refused.get(login) if login else None
        if refusal is not None and time.monotonic() < refusal.until:
            raise ServerAway("it refuses the login")
        settings = self._settings
        try:
            client = aiosmtplib.SMTP(
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                use_tls=settings.smtp_security == "tls",
                start_tls=settings.smtp_security == "starttls",
                username=login.username if login else None,
                password=login.password if login else None,
                timeout=TIMEOUT_SECONDS,
                tls_context=await asyncio.to_thread(self._trust),
            )
            await client.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            if login is not None and error.code >= _PERMANENT:
                self._login_refused(login, error.code)
            else:
                self._count("failed")
            raise ServerAway(f"it refuses the login: SMTP {error.code}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # ValueError: a login that cannot even be said, or a certificate that is none.
            self._count("failed")
            raise ServerAway(_words(error)) from error
        self._count("opened")
        if login is not None:
            self._refused.pop(login, None)
        if login == self._login:
            self._prove()
        return _Connection(client, login, time.monotonic())

    def _trust(self) -> ssl.SSLContext | None:
        """Return whom to trust, read anew: the file may have changed."""
        if self._settings.smtp_security == "none":
            return None
        return ssl.create_default_context(cafile=self._settings.smtp_ca_file or None)

    # the login

    async def _follow(self) -> bool:
        """Prove the login, and change to the one that lies in the folder if it works."""
        given = self._given()
        if given == self._login and self._proven:
            return True
        if given is not None:
            async with self._slots:
                try:
                    connection = await self._open(given)
                except ServerAway:
                    return False
                self._idle.append(connection)
        if given != self._login:
            self._login = given
            self._log.info("the login of the mail server changed", login=given is not None)
        self._prove()
        await self._end([kept for kept in self._idle if kept.login != given], "retired")
        return True

    def _given(self) -> Login | None:
        """Return the login that lies in the folder; the one in use while it is being swapped."""
        if self._settings.smtp_security == "none" or not self._credentials.has("smtp.username"):
            return None
        try:
            username = self._credentials.read("smtp.username")
            password = self._credentials.read("smtp.password")
        except (MissingCredential, OSError, UnicodeDecodeError):
            return self._login
        if username.revision != password.revision:
            return self._login  # each from another moment
        return Login(username.text, password.text, username.revision)

    def _prove(self) -> None:
        self._proven = True
        if self._login is not None:
            self._credentials.use("smtp", self._login.revision)

    def _login_refused(self, login: Login, code: int) -> None:
        self._count("login_refused")
        before = self._refused.get(login)
        times = before.times + 1 if before else 1
        pause = min(REFUSED_MAX_SECONDS, REFUSED_FIRST_SECONDS * 2 ** (times - 1))
        # Only of the two that may be tried again; others are history.
        self._refused = {one: known for one, known in self._refused.items() if one == self._login}
        self._refused[login] = _Refusal(times, time.monotonic() + pause)
        self._log.error(
            "the mail server refuses the login",
            revision=login.revision,
            status=code,
            old_stays=login != self._login,
        )

    @staticmethod
    def _count(event: Event) -> None:
        _CONNECTIONS.labels(event).inc()


async def _quit(connection: _Connection) -> None:
    """Say goodbye; a server that does not answer is left without one."""
    try:
        await connection.client.quit(timeout=CHECK_SECONDS)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        connection.client.close()


def _failure(error: Exception) -> Exception:
    """Return what a failed mail means."""
    if isinstance(error, aiosmtplib.SMTPNotSupported) or (
        isinstance(error, ValueError) and not isinstance(error, OSError)
    ):
        # Said before anything was sent: the address needs what the server does not speak.
        return PermanentFailure(type(error).__name__, "unsendable")
    answer = error
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        (answer,) = error.recipients
    if (
        isinstance(answer, _NOT_THE_MAIL)
        or not isinstance(answer, aiosmtplib.SMTPResponseException)
        or answer.code == _CLOSING
        or answer.code < _TEMPORARY
    ):
        return ServerAway(_words(answer))
    if answer.code < _PERMANENT:
        return TemporaryFailure(_words(answer))
    if _POLICY.match(answer.message):
        return PermanentFailure(_words(answer), "policy")
    at_recipient = isinstance(answer, aiosmtplib.SMTPRecipientRefused)
    return PermanentFailure(_words(answer), "mailbox" if at_recipient else "content")


def _words(error: BaseException) -> str:
    """Return an error's words without what the server said, which may hold an address."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"SMTP {error.code}"
    return type(error.__cause__ or error).__name__
