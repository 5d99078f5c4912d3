"""Trials of user-provided credentials: the reason of each failure, without secrets in messages."""

import ssl

import aiosmtplib
import grpc
import pytest

from ashchat_core.api.reasons import Reason
from ashchat_operator.credentials.candidates import Pair, ProvidedSecret
from ashchat_operator.credentials.provided import google_api, smtp
from ashchat_operator.credentials.provided.google import GoogleCredential
from ashchat_operator.credentials.provided.smtp import SmtpCredential
from operator_rendering import resource

SPEC = resource("everything").spec


def caused(cause: BaseException) -> aiosmtplib.SMTPException:
    error = aiosmtplib.SMTPException("wrapped")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiosmtplib.SMTPAuthenticationError(535, "no"), Reason.LOGIN_REFUSED),
        (aiosmtplib.SMTPAuthenticationError(454, "later"), Reason.UNREACHABLE),
        (aiosmtplib.SMTPNotSupported("no STARTTLS"), Reason.NOT_OFFERED),
        (caused(ssl.SSLError("untrusted")), Reason.CERTIFICATE_REFUSED),
        (ValueError("line break"), Reason.MALFORMED),
        (OSError("no route"), Reason.UNREACHABLE),
    ],
)
def test_a_failure_of_the_mail_server_has_a_reason(error: BaseException, reason: Reason) -> None:
    assert smtp.verdict(error).reason is reason


async def test_a_login_that_is_not_text_is_not_sent() -> None:
    login = ProvidedSecret({"username": b"\xff", "password": b"hush"}, "1")
    found = await SmtpCredential().attempt(SPEC, Pair(login))
    assert found.reason is Reason.MALFORMED
    assert "hush" not in found.message


@pytest.mark.parametrize(
    ("code", "details", "reason"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "", Reason.LOGIN_REFUSED),
        (grpc.StatusCode.PERMISSION_DENIED, "", Reason.PERMISSION_MISSING),
        (grpc.StatusCode.NOT_FOUND, "", Reason.PERMISSION_MISSING),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "", Reason.ACCEPTED),
        (grpc.StatusCode.UNAVAILABLE, "CERTIFICATE_VERIFY_FAILED", Reason.CERTIFICATE_REFUSED),
        (grpc.StatusCode.UNAVAILABLE, "", Reason.UNREACHABLE),
    ],
)
def test_a_response_of_google_has_a_reason(
    code: grpc.StatusCode, details: str, reason: Reason
) -> None:
    assert google_api.verdict(code, details).reason is reason


async def test_a_file_that_is_not_a_key_is_not_sent() -> None:
    key = ProvidedSecret({"google.json": b'{"private_key": "hush"}'}, "1")
    found = await GoogleCredential().attempt(SPEC, Pair(key))
    assert found.reason is Reason.MALFORMED
    assert "hush" not in found.message
