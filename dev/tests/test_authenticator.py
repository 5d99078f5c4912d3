"""The demo's authenticator: a service takes each code once, so no code is given out twice."""

import base64
import time

import pyotp
import pytest

from ashchat_dev.authenticator import Authenticator
from ashchat_dev.client import Person
from ashchat_dev.environment import Environment

RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
"""RFC 6238, appendix B."""


def test_two_codes_at_once_are_this_steps_and_the_next_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_111_111_109.0)
    authenticator = Authenticator(RFC_SECRET)
    # The RFC's 07081804 and 14050471 (1111111109 and 1111111111 s are two steps), in 6 digits.
    assert [authenticator.code(), authenticator.code()] == ["081804", "050471"]


def test_a_code_after_the_next_step_began_is_of_that_step(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1_111_111_109.0
    monkeypatch.setattr(time, "time", lambda: moment)
    authenticator = Authenticator(RFC_SECRET)
    authenticator.code()
    moment += 60
    assert authenticator.code() == pyotp.TOTP(RFC_SECRET).at(int(moment))


async def test_another_device_is_the_same_account_and_not_the_same_device() -> None:
    where = Environment("http://127.0.0.1:30080", "http://127.0.0.1:30025")
    async with Person(where, "Ana", "es") as ana, ana.on_another_device() as second:
        assert (second.email, second.password) == (ana.email, ana.password)
        assert second.device_token != ana.device_token
        assert second.token == ""
