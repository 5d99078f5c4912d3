"""Whether a mail server takes a login: connect, EHLO, AUTH, QUIT, and no mail.

As email does it (ashchat_email.smtp): the same library, the same trust. The server's words
are left out of what is told: they may hold an address.
"""

import ssl
from typing import Final

import aiosmtplib

from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials.bundle import ProvidedSecret
from ashchat_operator.credentials.candidates import SmtpServer, Verdict
from ashchat_operator.resource.model import SmtpSecurity

TIMEOUT_SECONDS: Final = 15.0
_PERMANENT: Final = 500


async def attempt(
    server: SmtpServer, login: ProvidedSecret | None, ca: ProvidedSecret | None
) -> Verdict:
    """Log in to a mail server once."""
    try:
        username, password = (
            (login.data[key].decode().strip() for key in ("username", "password"))
            if login is not None
            else (None, None)
        )
        trust = _trust(server, ca)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security is SmtpSecurity.TLS,
            start_tls=server.security is SmtpSecurity.START_TLS,
            username=username,
            password=password,
            timeout=TIMEOUT_SECONDS,
            tls_context=trust,
        )
    except (ssl.SSLError, ValueError):
        return Verdict(Reason.MALFORMED, "it is no text, or ca.crt is not a PEM certificate")
    try:
        await client.connect()
        await client.quit()
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        return verdict(error)
    finally:
        client.close()
    return Verdict(Reason.ACCEPTED, "the login is taken")


def verdict(error: BaseException) -> Verdict:
    """Return what a failure means (RFC 4954, section 6, for the codes of a login)."""
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        if error.code >= _PERMANENT:
            return Verdict(
                Reason.LOGIN_REFUSED,
                f"the login is refused (SMTP {error.code}): put the right username and "
                "password into the Secret",
            )
        return Verdict(
            Reason.UNREACHABLE,
            f"no login is taken just now (SMTP {error.code}); it is tried again",
        )
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return Verdict(
            Reason.NOT_OFFERED,
            "the server offers no STARTTLS, or no login: see spec.email.smtp.security and port",
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return Verdict(
                Reason.CERTIFICATE_REFUSED,
                "the server's certificate is not trusted, or it speaks no TLS there: see "
                "spec.email.smtp.caSecretRef, security and port",
            )
        cause = cause.__cause__
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return Verdict(Reason.MALFORMED, "username and password cannot be said to a mail server")
    return Verdict(Reason.UNREACHABLE, "the mail server does not answer; it is tried again")


def _trust(server: SmtpServer, ca: ProvidedSecret | None) -> ssl.SSLContext | None:
    if server.security is SmtpSecurity.NONE:
        return None
    return ssl.create_default_context(cadata=ca.data["ca.crt"].decode() if ca else None)
