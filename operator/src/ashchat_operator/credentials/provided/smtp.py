"""The login at the mail server: tried by connect, EHLO, AUTH and QUIT, without sending mail.

With the same library and the same trust as the service email (`ashchat_email.smtp`). The server's
own words are left out of messages: they may contain an address.
"""

import ssl
from collections.abc import Mapping
from typing import ClassVar, Final

import aiosmtplib

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.credentials.candidates import Pair, ProvidedSecret, Verdict
from ashchat_operator.credentials.provided.base import CA_KEY, ProvidedCredential, References
from ashchat_operator.resource.enums import SmtpSecurity
from ashchat_operator.resource.model import Smtp, Spec

TIMEOUT_SECONDS: Final = 15.0
_PERMANENT: Final = 500


class SmtpCredential(ProvidedCredential):
    """The login and the certificate authority of spec.email.smtp."""

    name = "smtp"
    service = Service.EMAIL
    files: ClassVar[Mapping[str, str]] = {"username": "smtp.username", "password": "smtp.password"}

    def references(self, spec: Spec) -> References:
        """Return the Secrets that the spec names."""
        smtp = spec.email.smtp
        return References(smtp.credentials_secret_ref, smtp.ca_secret_ref)

    def server(self, spec: Spec) -> str:
        """Return the mail server as text."""
        smtp = spec.email.smtp
        return f"{smtp.security.value.lower()}://{smtp.host}:{smtp.port}"

    async def attempt(self, spec: Spec, pair: Pair) -> Verdict:
        """Log in to the mail server once."""
        smtp = spec.email.smtp
        try:
            client = _client(smtp, pair)
        except (ssl.SSLError, ValueError):
            return Verdict(
                Reason.MALFORMED,
                "username and password are not text, or ca.crt is not a PEM certificate",
            )
        try:
            await client.connect()
            await client.quit()
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return verdict(error)
        finally:
            client.close()
        return Verdict(Reason.ACCEPTED, "the login is accepted")


def _client(smtp: Smtp, pair: Pair) -> aiosmtplib.SMTP:
    login = pair.login
    username, password = (
        (login.data[key].decode().strip() for key in ("username", "password"))
        if login is not None
        else (None, None)
    )
    return aiosmtplib.SMTP(
        hostname=smtp.host,
        port=smtp.port,
        use_tls=smtp.security is SmtpSecurity.TLS,
        start_tls=smtp.security is SmtpSecurity.START_TLS,
        username=username,
        password=password,
        timeout=TIMEOUT_SECONDS,
        tls_context=_trust(smtp, pair.ca),
    )


def _trust(smtp: Smtp, ca: ProvidedSecret | None) -> ssl.SSLContext | None:
    if smtp.security is SmtpSecurity.NONE:
        return None
    return ssl.create_default_context(cadata=ca.data[CA_KEY].decode() if ca else None)


def verdict(error: BaseException) -> Verdict:
    """Return the verdict of a failure (RFC 4954, section 6, for the codes of a login)."""
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        if error.code >= _PERMANENT:
            return Verdict(
                Reason.LOGIN_REFUSED,
                f"the login is refused (SMTP {error.code}): correct username and password in the "
                "Secret",
            )
        return Verdict(
            Reason.UNREACHABLE,
            f"the server accepts no login at the moment (SMTP {error.code}); it will be retried",
        )
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return Verdict(
            Reason.NOT_OFFERED,
            "the server offers no STARTTLS or no login: correct spec.email.smtp.security and port",
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return Verdict(
                Reason.CERTIFICATE_REFUSED,
                "the server's certificate is not trusted, or the port does not speak TLS: correct "
                "spec.email.smtp.caSecretRef, security and port",
            )
        cause = cause.__cause__
    if isinstance(error, ValueError) and not isinstance(error, OSError):
        return Verdict(Reason.MALFORMED, "username and password cannot be sent to a mail server")
    return Verdict(Reason.UNREACHABLE, "the mail server does not answer; it will be retried")
