"""Sends mails to the SMTP server and classifies failures.

RFC 5321, section 4.2.1: 4yz is transient, 5yz is permanent. A few connections are reused: a
handshake, STARTTLS and a login cost more than the mail itself, and servers limit them.
"""

import asyncio
import re
import ssl
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Final, Literal

import aiosmtplib
import structlog
from prometheus_client import Counter, Histogram

from ashchat_core.backoff import backoff
from ashchat_core.credentials import POLL_SECONDS, Credentials, MissingCredentialError
from ashchat_email.ports import PermanentFailureError, ServerUnavailableError, TemporaryFailureError
from ashchat_email.settings import Settings

TIMEOUT_SECONDS: Final = 15.0
CHECK_SECONDS: Final = 3.0
"""How long an idle connection may take to respond before it is reused."""

CONNECTIONS: Final = 4
"""Maximum connections. Servers allow few per client (Postfix: 50, many: 10)."""

IDLE_SECONDS: Final = 60.0
"""How long an unused connection stays open; a server closes it after five minutes or more
(RFC 5321, section 4.5.3.2.7), many sooner."""

REFUSED_FIRST_SECONDS, REFUSED_MAX_SECONDS = 5.0, 60.0
"""Pause after a rejected login: servers lock logins that are retried quickly."""

_CLOSING: Final = 421
"""The server is shutting down (RFC 5321, section 4.2.3)."""

_TEMPORARY, _PERMANENT = 400, 500

_NOT_THE_MAIL: Final = (
    aiosmtplib.SMTPConnectResponseError,
    aiosmtplib.SMTPHeloError,
    aiosmtplib.SMTPSenderRefused,
)
"""Rejections of the client instead of a mail: mails wait until this is fixed."""

_POLICY: Final = re.compile(r"5\.7\.\d")
"""An enhanced code that is about security or policy (RFC 3463, section 3.8)."""

_MAILS = Counter("ashchat_email_mails_total", "Mail, by the mail server's response", ["outcome"])
_SECONDS = Histogram(
    "ashchat_email_smtp_delivery_duration_seconds", "Duration of one delivery to the mail server"
)
_CONNECTIONS = Counter(
    "ashchat_email_smtp_connections_total",
    "Connections to the mail server, by event",
    ["event"],
)

Event = Literal["opened", "reused", "broken", "idle", "retired", "failed", "login_refused"]


@dataclass(frozen=True, slots=True)
class Login:
    """A login at the mail server."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    revision: str


@dataclass(frozen=True, slots=True)
class _Refusal:
    """How often a login was rejected, and until when it is not tried again."""

    times: int
    until: float


@dataclass(slots=True, eq=False)
class _Connection:
    client: aiosmtplib.SMTP
    login: Login | None
    used_at: float


class Mailer:
    """Sends mails over a few reused connections.

    A changed login is tested first. Once the server accepts it, it replaces the old login,
    whose connections close after their current mail; until then the old login stays in use.
    """

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._login: Login | None = None
        self._login = self._configured()
        self._proven = self._login is None
        self._refused: dict[Login, _Refusal] = {}
        self._idle: list[_Connection] = []
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._closed = False
        self._log = structlog.get_logger("smtp")

    async def send(self, message: EmailMessage) -> None:
        """Send a mail; return after the server's 250.

        Raises:
            MailError: the mail was not sent.
        """
        with _SECONDS.time():
            async with self._slots:
                try:
                    await self._send(message)
                except ServerUnavailableError:
                    _MAILS.labels("server_away").inc()
                    raise
                except TemporaryFailureError:
                    _MAILS.labels("later").inc()
                    raise
                except PermanentFailureError:
                    _MAILS.labels("refused").inc()
                    raise
        _MAILS.labels("accepted").inc()

    async def run(self) -> None:
        """Follow the login and close idle connections; until cancelled."""
        attempt = 0
        task = asyncio.current_task()
        # Python 3.11's wait_for, which aiosmtplib uses, may discard a cancellation that arrives
        # with the response (https://github.com/python/cpython/issues/86296), so check for it.
        while task is None or not task.cancelling():
            attempt = 0 if await self._follow() else attempt + 1
            await self._close_idle()
            await asyncio.sleep(max(POLL_SECONDS, backoff(attempt) if attempt else 0.0))

    async def close(self) -> None:
        """Close every connection; those in use are closed after their mail."""
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
                await self._return(connection)
            else:  # cancelled in the middle of a dialogue
                connection.client.close()

    # connections

    async def _take(self) -> _Connection:
        """Return an idle connection that responds, or a new one."""
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

    async def _return(self, connection: _Connection) -> None:
        connection.used_at = time.monotonic()
        if not connection.client.is_connected:
            self._count("broken")
        elif connection.login != self._login or self._closed:
            self._count("retired")
            await _quit(connection)
        else:
            self._idle.append(connection)

    async def _close_idle(self) -> None:
        """Close connections that were not used recently."""
        before = time.monotonic() - IDLE_SECONDS
        await self._end([kept for kept in self._idle if kept.used_at < before], "idle")

    async def _end(self, connections: list[_Connection], why: Event) -> None:
        """Close idle connections; they are removed first, so that no mail uses them."""
        self._idle = [kept for kept in self._idle if kept not in connections]
        for connection in connections:
            self._count(why)
            await _quit(connection)

    async def _open(self, login: Login | None) -> _Connection:
        """Connect and log in.

        Raises:
            ServerUnavailableError: it is unreachable or not trusted, or rejects the login.
        """
        refusal = self._refused.get(login) if login else None
        if refusal is not None and time.monotonic() < refusal.until:
            raise ServerUnavailableError("it rejects the login")
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
            raise ServerUnavailableError(f"it rejects the login: SMTP {error.code}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            # ValueError: a login that cannot be encoded, or an invalid certificate.
            self._count("failed")
            raise ServerUnavailableError(_words(error)) from error
        self._count("opened")
        if login is not None:
            self._refused.pop(login, None)
        if login == self._login:
            self._prove()
        return _Connection(client, login, time.monotonic())

    def _trust(self) -> ssl.SSLContext | None:
        """Return the trusted authorities, read again because the file may have changed."""
        if self._settings.smtp_security == "none":
            return None
        return ssl.create_default_context(cafile=self._settings.smtp_ca_file or None)

    # the login

    async def _follow(self) -> bool:
        """Test the login, and switch to the one in the folder if it works."""
        login = self._configured()
        if login == self._login and self._proven:
            return True
        if login is not None:
            async with self._slots:
                try:
                    connection = await self._open(login)
                except ServerUnavailableError:
                    return False
                self._idle.append(connection)
        if login != self._login:
            self._login = login
            self._log.info("the login of the mail server changed", login=login is not None)
        self._prove()
        await self._end([kept for kept in self._idle if kept.login != login], "retired")
        return True

    def _configured(self) -> Login | None:
        """Return the login in the folder, or the one in use while the folder is being replaced."""
        if self._settings.smtp_security == "none" or not self._credentials.has("smtp.username"):
            return None
        try:
            username = self._credentials.read("smtp.username")
            password = self._credentials.read("smtp.password")
        except (MissingCredentialError, OSError, UnicodeDecodeError):
            return self._login
        if username.revision != password.revision:
            return self._login  # the files do not belong together
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
        # Keep only the two logins that may be tried again.
        self._refused = {one: known for one, known in self._refused.items() if one == self._login}
        self._refused[login] = _Refusal(times, time.monotonic() + pause)
        self._log.error(
            "the mail server rejects the login",
            revision=login.revision,
            status=code,
            old_stays=login != self._login,
        )

    @staticmethod
    def _count(event: Event) -> None:
        _CONNECTIONS.labels(event).inc()


async def _quit(connection: _Connection) -> None:
    """Send QUIT if the server responds, then close the connection."""
    try:
        await connection.client.quit(timeout=CHECK_SECONDS)
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        connection.client.close()


def _failure(error: Exception) -> Exception:
    """Convert an error of the SMTP library."""
    if isinstance(error, aiosmtplib.SMTPNotSupported) or (
        isinstance(error, ValueError) and not isinstance(error, OSError)
    ):
        # Raised before anything is sent: the address needs an extension the server lacks.
        return PermanentFailureError(type(error).__name__, "unsendable")
    answer = error
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        (answer,) = error.recipients
    if (
        isinstance(answer, _NOT_THE_MAIL)
        or not isinstance(answer, aiosmtplib.SMTPResponseException)
        or answer.code == _CLOSING
        or answer.code < _TEMPORARY
    ):
        return ServerUnavailableError(_words(answer))
    if answer.code < _PERMANENT:
        return TemporaryFailureError(_words(answer))
    if _POLICY.match(answer.message):
        return PermanentFailureError(_words(answer), "policy")
    at_recipient = isinstance(answer, aiosmtplib.SMTPRecipientRefused)
    return PermanentFailureError(_words(answer), "mailbox" if at_recipient else "content")


def _words(error: BaseException) -> str:
    """Return an error without the server's response, which may contain an address."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"SMTP {error.code}"
    return type(error.__cause__ or error).__name__
