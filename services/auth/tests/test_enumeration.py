"""No flow does other work, or answers otherwise, for an address with an account.

`Recorder` notes every call of an adapter until the response: what is called decides how long it
takes. The end-to-end test `accounts/test_identity.py` measures it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ashchat_auth.service import Lifetimes, build
from ashchat_auth.service.passwords import ASKED_SECONDS, PasswordChange
from ashchat_auth.service.second_factor import Factor
from ashchat_core.errors import APIError
from ashchat_core.messages import (
    ConfirmChangeEmailReply,
    ConfirmChangePasswordReply,
    ConfirmEmailCodeReply,
)
from ashchat_core.topology import Queue
from auth_world import EMAIL, HERE, OTHER_PASSWORD, PASSWORD, World

UNKNOWN = "nobody@example.org"

Seen = tuple[list[str], Any]
Flow = Callable[[World, str], Awaitable[Any]]


class Recorder:
    """Notes the calls of an adapter."""

    def __init__(self, name: str, adapter: object, calls: list[str]) -> None:
        self._name, self._adapter, self._calls = name, adapter, calls

    def __getattr__(self, method: str) -> Any:
        self._calls.append(f"{self._name}.{method}")
        return getattr(self._adapter, method)


async def seen(world: World, flow: Flow, email: str) -> Seen:
    """Return the calls of a flow, and what the client gets."""
    calls: list[str] = []
    ports = replace(
        world.ports,
        **{
            name: Recorder(name, getattr(world.ports, name), calls)
            for name in ("store", "requests", "passwords", "signer", "limits", "resets")
        },
    )
    lives = Lifetimes(refresh=timedelta(days=30), session=timedelta(days=180))
    real, world.auth = world.auth, build(ports, lifetimes=lives, issuer="AshChat")
    try:
        answer = type(await flow(world, email)).__name__
    except APIError as error:
        answer = f"{error.status} {error.reason} {error.message}"
    until_now = list(calls)
    await world.auth.events.drain()
    world.auth = real
    return until_now, answer


async def signs_up(world: World, email: str) -> str:
    return await world.sign_up(email)


async def signs_in(world: World, email: str) -> Any:
    return await world.auth.sign_in.begin(
        email=email, password="wrong password", device_token="another", address=HERE
    )


async def confirms_a_sign_up(world: World, email: str) -> str:
    world.queues.answers[Queue.CONFIRM_EMAIL_CODE] = ConfirmEmailCodeReply(
        request_id="r", refusal="wrong_code"
    )
    return await world.auth.sign_up.confirm(
        email=email,
        code="000000",
        temporary=await world.sign_up(email),
        device=world.ana.devices[0],
        address=HERE,
    )


async def asks_for_a_reset(world: World, email: str) -> str:
    return await world.auth.passwords.ask(email=email, address=HERE)


async def resets(flows: PasswordChange, token: str) -> None:
    await flows.reset(
        temporary=token, code="000000", new_password=OTHER_PASSWORD, factor=Factor(None),
        address=HERE,
    )  # fmt: skip


async def resets_with_a_wrong_code(world: World, email: str) -> None:
    world.queues.answers[Queue.CONFIRM_CHANGE_PASSWORD] = ConfirmChangePasswordReply(
        request_id="r", refusal="wrong_code" if email == EMAIL else "expired"
    )
    await resets(world.auth.passwords, await world.auth.passwords.ask(email=email, address=HERE))


async def begins_an_address_change(world: World, email: str) -> None:
    # To an address that another account has, or none has.
    new = "eva@example.org" if email == EMAIL else UNKNOWN
    await world.auth.account.begin_email_change(
        await world.caller(), new_email=new, password=PASSWORD
    )


async def ends_an_address_change_with_wrong_codes(world: World, email: str) -> None:
    await begins_an_address_change(world, email)
    world.queues.answers[Queue.CONFIRM_CHANGE_EMAIL] = ConfirmChangeEmailReply(
        request_id="r", refusal="wrong_code"
    )
    await world.auth.account.finish_email_change(
        await world.caller(), old_code="000000", new_code="000000"
    )


FLOWS: list[Flow] = [
    signs_up,
    signs_in,
    confirms_a_sign_up,
    asks_for_a_reset,
    resets_with_a_wrong_code,
    begins_an_address_change,
    ends_an_address_change_with_wrong_codes,
]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
async def test_a_flow_does_the_same_for_a_known_and_an_unknown_address(
    world: World, flow: Flow
) -> None:
    await world.confirm()
    eva = world.ana.model_copy(update={"id": "s2", "email_key": "eva@example.org"})
    world.store.users["s2"] = eva
    await world.sign_in()  # so that each sign-in of a flow replaces a session
    known, unknown = [await seen(world, flow, email) for email in (EMAIL, UNKNOWN)]
    assert known == unknown
    assert known[0], "something was done"


@pytest.mark.parametrize("email", [EMAIL, UNKNOWN])
async def test_a_reset_is_answered_after_the_same_time(world: World, email: str) -> None:
    await world.confirm()
    began = time.monotonic()
    await world.auth.passwords.ask(email=email, address=HERE)
    assert time.monotonic() - began >= ASKED_SECONDS


async def test_events_that_strangers_cause_are_stored_after_the_answer(world: World) -> None:
    await world.confirm()
    before = len(world.store.events)
    await world.auth.passwords.ask(email=EMAIL, address=HERE)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(world.store.events) == before
    await world.auth.events.drain()
    assert len(world.store.events) == before + 1
