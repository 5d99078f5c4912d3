"""The edge's certificate: which one is served, and what is reported about a provided one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ashchat_dev.certificates import certificate
from ashchat_operator.credentials.certificate import bare_host, check, choose, load
from ashchat_operator.resource.types import Data

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOST = "chat.example.org"
Change = Callable[[dict[str, bytes]], Any]


def made(*names: str, days: float = 90, since: float = 1) -> Data:
    return certificate(*(names or (HOST,)), begin=NOW - timedelta(days=since), days=days + since)


def test_a_valid_certificate_is_served() -> None:
    given = made()
    choice = choose("tls", given, {}, HOST, NOW)
    assert choice.served == load(given)
    assert (choice.good, choice.works, choice.reason) == (True, True, "Served")


WRONG: dict[str, tuple[Data, str, str]] = {
    "no Secret": ({}, "CertificateMissing", "it lacks tls.crt and tls.key"),
    "no key": ({"tls.crt": made()["tls.crt"]}, "CertificateMissing", "it lacks"),
    "nonsense": ({"tls.crt": b"x", "tls.key": b"y"}, "CertificateUnreadable", "must be PEM"),
    "another's key": (
        {"tls.crt": made()["tls.crt"], "tls.key": made()["tls.key"]},
        "CertificateKeyMismatch",
        "tls.key is not the key",
    ),
    "expired": (made(days=-0.5), "CertificateExpired", "it expired on 2029-12-31"),
    "of the future": (made(since=-2), "CertificateNotYetValid", "it is valid from 2030-01-03"),
    "for another host": (
        made("mail.example.org"),
        "CertificateHostMismatch",
        "it covers mail.example.org, but publicUrl's host is chat.example.org",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_invalid_certificate_is_not_served_and_the_reason_is_reported(what: str) -> None:
    given, reason, says = WRONG[what]
    choice = choose("tls", given, {}, HOST, NOW)
    assert (choice.served, choice.good, choice.works, choice.reason) == (None, False, False, reason)
    assert says in choice.message
    assert "Secret tls" in choice.message
    assert choice.message.endswith("There is no previous one")


@pytest.mark.parametrize("what", WRONG)
def test_the_previous_certificate_stays_while_the_new_one_is_invalid(what: str) -> None:
    given, reason, says = WRONG[what]
    former = made()
    choice = choose("tls", given, former, HOST, NOW)
    assert choice.served == load(former)
    assert (choice.good, choice.works, choice.reason) == (False, True, reason)
    assert says in choice.message
    assert "The previous one, valid until 2030-04-01, stays in use" in choice.message


def test_a_certificate_that_expired_in_use_counts_as_not_working() -> None:
    ended = made(days=-0.5)
    choice = choose("tls", ended, ended, HOST, NOW)
    assert choice.served is not None
    assert (choice.good, choice.works, choice.reason) == (False, False, "CertificateExpired")


@pytest.mark.parametrize(("days", "reason"), [(13.9, "ExpiresSoon"), (14.1, "Served")])
def test_expiry_is_reported_two_weeks_ahead(days: float, reason: str) -> None:
    choice = choose("tls", made(days=days), {}, HOST, NOW)
    assert (choice.good, choice.works, choice.reason) == (True, True, reason)


@pytest.mark.parametrize(
    ("names", "host", "covers"),
    [
        (("chat.example.org",), "chat.example.org", True),
        (("CHAT.example.org",), "chat.example.org", True),
        (("*.example.org",), "chat.example.org", True),
        (("*.example.org",), "example.org", False),
        (("*.example.org",), "a.chat.example.org", False),
        (("192.0.2.1",), "192.0.2.1", True),
        (("192.0.2.1",), "192.0.2.2", False),
        (("2001:db8::1",), "2001:db8:0:0::1", True),
        (("example.org",), "chat.example.org", False),
    ],
)
def test_which_hosts_a_certificate_covers(names: tuple[str, ...], host: str, covers: bool) -> None:  # noqa: FBT001
    assert load(made(*names)).covers(bare_host(host)) is covers


def test_without_a_known_host_any_certificate_is_served() -> None:
    assert check(made("mail.example.org"), "", NOW)


def test_a_renewed_certificate_has_another_fingerprint() -> None:
    assert load(made()).fingerprint != load(made()).fingerprint


def test_the_key_is_never_shown() -> None:
    given = made()
    choice = choose("tls", given, {}, HOST, NOW)
    assert "PRIVATE" not in repr(choice)
    broken = {"tls.crt": given["tls.crt"], "tls.key": given["tls.key"][:-60]}
    assert "PRIVATE" not in choose("tls", broken, {}, HOST, NOW).message
