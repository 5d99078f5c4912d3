"""Handing mails to the SMTP server, and saying which kind of failure it was.

RFC 5321, section 4.2.1: 4yz is transient, 5yz is permanent.
"""

from email.message import EmailMessage
from typing import NoReturn

import aiosmtplib
from prometheus_client import Counter, Histogram

from ashchat_core.credentials import Credentials
from ashchat_email.settings import Settings

TIMEOUT_SECONDS = 15.0

_CLOSING = 421
"""The server is closing its doors for now (RFC 5321, section 4.2.3)."""

_PERMANENT = 500

_NOT_THE_MAIL = (
    aiosmtplib.SMTPAuthenticationError,
    aiosmtplib.SMTPConnectResponseError,
    aiosmtplib.SMTPHeloError,
    aiosmtplib.SMTPSenderRefused,
)
"""Refusals of us, not of a mail: mails wait until somebody has set it right."""

_MAILS = Counter("ashchat_email_mails_total", "Mails, by what the server said", ["outcome"])
_SECONDS = Histogram("ashchat_email_smtp_seconds", "Time to hand over a mail")


class ServerAway(Exception):
    """The server is unreachable, busy or refuses us: it is not this mail's fault."""


class TemporaryFailure(Exception):
    """The server does not take this mail now (4yz): greylisting, a full mailbox."""


class PermanentFailure(Exception):
    """The server will never take this mail (5yz): no such mailbox."""


class Mailer:
    """Sends by SMTP. The login is read for every mail, so a changed one is used at once."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials

    async def send(self, message: EmailMessage) -> None:
        """Hand over a mail; return after the server's 250.

        Raises:
            ServerAway, TemporaryFailure, PermanentFailure: see there.
        """
        with _SECONDS.time():
            try:
                await aiosmtplib.send(
                    message,
                    hostname=self._settings.smtp_host,
                    port=self._settings.smtp_port,
                    use_tls=self._settings.smtp_security == "tls",
                    start_tls=self._settings.smtp_security == "starttls",
                    username=self._login("username"),
                    password=self._login("password"),
                    timeout=TIMEOUT_SECONDS,
                )
            except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
                self._raise(error)
            except (aiosmtplib.SMTPException, OSError) as error:
                _MAILS.labels("server_away").inc()
                raise ServerAway(type(error).__name__) from error
        _MAILS.labels("accepted").inc()
        if self._credentials.has("smtp.username"):
            self._credentials.use("smtp")

    def _login(self, name: str) -> str | None:
        file = f"smtp.{name}"
        return self._credentials.text(file) if self._credentials.has(file) else None

    @staticmethod
    def _raise(error: aiosmtplib.SMTPException) -> NoReturn:
        if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
            codes = [refused.code for refused in error.recipients]
        elif isinstance(error, aiosmtplib.SMTPResponseException):
            codes = [error.code]
        else:
            codes = []
        if isinstance(error, _NOT_THE_MAIL) or _CLOSING in codes:
            _MAILS.labels("server_away").inc()
            raise ServerAway(f"SMTP {codes}") from error
        if any(code >= _PERMANENT for code in codes):
            _MAILS.labels("refused").inc()
            raise PermanentFailure(f"SMTP {codes}") from error
        _MAILS.labels("later").inc()
        raise TemporaryFailure(f"SMTP {codes}") from error
