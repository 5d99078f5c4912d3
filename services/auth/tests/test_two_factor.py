"""An authenticator, its codes, and what stands for them."""

import asyncio
from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from ashchat_auth.models import Caller
from ashchat_auth.service.second_factor import (
    RECOVERY_CODES,
    STEP_SECONDS,
    Factor,
    base32,
    matching_step,
    plain,
)
from ashchat_core.topology import Queue
from auth_world import OTHER_PASSWORD, PASSWORD, PHONE, World, make_ring, refused, totp

# RFC 6238, appendix B, the last six of its eight digits.
RFC_SECRET = b"12345678901234567890"
RFC_CODES = [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")]


@pytest.mark.parametrize(("seconds", "code"), RFC_CODES)
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert matching_step(RFC_SECRET, code, moment) == seconds // STEP_SECONDS


@pytest.mark.parametrize(("late", "good"), [(-60, False), (-30, True), (30, True), (60, False)])
def test_a_clock_may_differ_by_one_step(late: int, good: bool) -> None:  # noqa: FBT001
    moment = datetime.fromtimestamp(1111111109 + late, UTC)
    assert (matching_step(RFC_SECRET, "081804", moment) is not None) is good


async def test_enrolling_shows_the_secret_once_and_keeps_it_sealed(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    begun = await world.auth.two_factor.enrol(caller, password=PASSWORD)
    parts = urlsplit(begun.uri)
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == f"/AshChat:{world.ana.email}"
    assert query["secret"] == [begun.secret]
    assert len(begun.secret) * 5 == 160
    assert world.ana.enrolment is not None
    assert begun.secret not in world.ana.model_dump_json()
    assert begun.secret not in repr(begun)
    assert not world.auth.two_factor.state(await world.caller()).enabled


async def test_enrolling_needs_the_password(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    call = world.auth.two_factor.enrol(caller, password="wrong")
    assert await refused(call) == (403, "wrong_password")
    confirm = world.auth.two_factor.confirm(caller, code="123456")
    assert await refused(confirm) == (409, "no_enrolment")


async def test_confirming_ends_other_sessions_and_forgets_other_devices(world: World) -> None:
    await world.confirm()
    await world.confirm_device((await world.challenge()).data["token"])
    other = await world.sign_in(device="tablet")
    this = await world.sign_in()
    begun = await world.auth.two_factor.enrol(await world.caller(this), password=PASSWORD)
    wrong = world.auth.two_factor.confirm(await world.caller(this), code="000000")
    assert await refused(wrong) == (400, "wrong_code")
    codes = await world.auth.two_factor.confirm(await world.caller(this), code=totp(begun.secret))
    assert len(set(codes)) == RECOVERY_CODES
    assert world.ana.devices == (PHONE,)
    told = world.queues.of(Queue.CHANGE_DEVICE_TOKEN)[-1]
    assert told.version == world.ana.devices_version == 2
    assert [one.device_token_hash for one in told.devices] == [PHONE.device_hash]
    assert await refused(world.caller(other, "tablet")) == (401, "session_over")
    assert (await world.caller(this)).user.two_factor is not None
    (notice,) = world.queues.of(Queue.SECURITY_NOTICE)
    assert notice.event == "two_factor_enabled"
    for code in codes:
        assert plain(code) not in world.ana.model_dump_json()


async def test_an_enrolled_account_is_not_enrolled_over(world: World) -> None:
    caller, secret, _ = await world.with_two_factor()
    flow = world.auth.two_factor
    assert await refused(flow.enrol(caller, password=PASSWORD)) == (409, "two_factor_enabled")
    assert await refused(flow.confirm(caller, code=totp(secret, 1))) == (409, "two_factor_enabled")


async def check(world: World, caller: Caller, factor: Factor) -> None:
    flow = world.auth.two_factor
    await flow.renew(caller, password=PASSWORD, factor=factor)


async def test_a_time_step_is_accepted_once_by_however_many_pods_at_once(world: World) -> None:
    caller, secret, _ = await world.with_two_factor()
    # The enrolment's own code is used up too.
    used = check(world, caller, Factor(totp(secret)))
    assert await refused(used) == (400, "wrong_code")
    factor = Factor(totp(secret, 1))
    results = await asyncio.gather(
        *(check(world, caller, factor) for _ in range(5)), return_exceptions=True
    )
    assert [result for result in results if result is None] == [None]
    older = check(world, caller, Factor(totp(secret, 0)))
    assert await refused(older) == (400, "wrong_code")


async def test_a_recovery_code_is_valid_once_and_its_use_is_notified(world: World) -> None:
    _, _, codes = await world.with_two_factor()
    token = (await world.challenge()).data["token"]
    typed = codes[3].upper().replace("-", " ")
    await world.confirm_device(token, code=None, recovery=typed)
    again = world.confirm_device(token, code=None, recovery=codes[3])
    assert await refused(again) == (403, "wrong_recovery_code")
    assert world.queues.of(Queue.SECURITY_NOTICE)[-1].event == "recovery_code_used"
    assert "recovery_code_used" in world.store.kinds()
    assert len(world.ana.two_factor.recovery) == RECOVERY_CODES - 1  # type: ignore[union-attr]


async def test_renewed_recovery_codes_invalidate_the_previous_ones(world: World) -> None:
    caller, secret, before = await world.with_two_factor()
    codes = await world.auth.two_factor.renew(
        caller, password=PASSWORD, factor=Factor(totp(secret, 1))
    )
    assert not set(codes) & set(before)
    old = check(world, caller, Factor(None, before[0]))
    assert await refused(old) == (400, "wrong_recovery_code")
    await check(world, caller, Factor(None, codes[0]))
    told = [notice.event for notice in world.queues.of(Queue.SECURITY_NOTICE)]
    assert told.count("recovery_codes_renewed") == 2


async def test_giving_it_up_needs_password_and_code_and_ends_other_sessions(world: World) -> None:
    caller, secret, _ = await world.with_two_factor()
    (other,) = await world.sign_in_on("tablet")
    flow = world.auth.two_factor
    nothing = flow.disable(caller, password=PASSWORD, factor=Factor(None))
    assert await refused(nothing) == (403, "two_factor_required")
    wrong = flow.disable(caller, password=OTHER_PASSWORD, factor=Factor(totp(secret, 1)))
    assert await refused(wrong) == (403, "wrong_password")
    await flow.disable(caller, password=PASSWORD, factor=Factor(totp(secret, 1)))
    assert world.ana.two_factor is None
    assert await refused(world.caller(other, "tablet")) == (401, "session_over")
    assert world.queues.of(Queue.SECURITY_NOTICE)[-1].event == "two_factor_disabled"
    assert (await world.challenge("laptop")).reason == "new_device"
    off = flow.disable(
        caller.model_copy(update={"user": world.ana}), password=PASSWORD, factor=Factor(None)
    )
    assert await refused(off) == (409, "two_factor_off")


async def test_a_new_key_takes_the_secret_over_at_its_next_use(world: World) -> None:
    caller, secret, codes = await world.with_two_factor()
    make_ring(world.ring, "2")
    assert world.ana.two_factor is not None
    assert world.ana.two_factor.secret.startswith("1.")
    await world.confirm_device((await world.challenge()).data["token"], code=totp(secret, 1))
    assert world.ana.two_factor.secret.startswith("2.")
    (world.ring / "1.key").unlink()
    assert (
        base32(
            world.auth.two_factor._second_factor.secret_of(world.ana, world.ana.two_factor.secret)
        )
        == secret
    )
    # A recovery code is kept as a hash: the former key is needed as long as it is.
    old = check(world, caller, Factor(None, codes[0]))
    assert await refused(old) == (400, "wrong_recovery_code")


async def test_without_the_key_ring_two_factor_says_503_and_the_rest_works(world: World) -> None:
    caller, secret, codes = await world.with_two_factor()
    token = (await world.challenge()).data["token"]
    empty = World(world.ring.parent / "other")
    for file in empty.ring.iterdir():
        file.unlink()
    empty.store, empty.auth = world.store, empty.auth
    for flow in (empty.auth.sign_in, empty.auth.two_factor, empty.auth.passwords):
        flow._store = world.store
        flow._second_factor._store = world.store
    call = empty.auth.two_factor.renew(caller, password=PASSWORD, factor=Factor(totp(secret, 1)))
    assert await refused(call) == (503, "unavailable")
    call = empty.auth.two_factor.renew(caller, password=PASSWORD, factor=Factor(None, codes[0]))
    assert await refused(call) == (503, "unavailable")
    assert token
    signed_in = await empty.auth.sign_in.begin(
        email=world.ana.email, password=PASSWORD, device_token="phone", address="192.0.2.1"
    )
    assert signed_in.user_id == "s1"
