"""A change of address, password or second factor ends what was begun before it."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from ashchat_auth.models import User
from ashchat_auth.service.second_factor import Factor
from ashchat_auth.service.sessions import SignedIn
from auth_world import (
    EMAIL,
    HERE,
    OTHER_PASSWORD,
    PASSWORD,
    TABLET,
    World,
    refused,
    totp,
)

Finish = Callable[[], Awaitable[object]]


class Owner(NamedTuple):
    """Ana, signed in, with or without an authenticator."""

    world: World
    signed_in: SignedIn
    secret: str = ""

    async def caller(self) -> Any:
        return await self.world.caller(self.signed_in)

    def factor(self, steps: int = 0) -> Factor:
        return Factor(totp(self.secret, steps) if self.secret else None)


# What may be outstanding: each returns how it is completed.


async def a_reset(owner: Owner) -> Finish:
    token = await owner.world.auth.passwords.ask(email=EMAIL, address=HERE)

    async def finish() -> None:
        await owner.world.auth.passwords.reset(
            temporary=token,
            code="123456",
            new_password="five other random words",
            factor=owner.factor(),
            address=HERE,
        )

    return finish


async def a_new_device(owner: Owner) -> Finish:
    token = (await owner.world.challenge()).data["token"]

    async def finish() -> None:
        code = totp(owner.secret) if owner.secret else "123456"
        await owner.world.confirm_device(token, TABLET, code=code)

    return finish


async def an_address_change(owner: Owner) -> Finish:
    flow = owner.world.auth.account
    await flow.begin_email_change(
        await owner.caller(), new_email="ana@new.example", password=PASSWORD
    )

    async def finish() -> None:
        await flow.finish_email_change(await owner.caller(), old_code="123456", new_code="123456")

    return finish


async def an_enrolment(owner: Owner) -> Finish:
    flow = owner.world.auth.two_factor
    begun = await flow.enrol(await owner.caller(), password=PASSWORD)

    async def finish() -> None:
        await flow.confirm(await owner.caller(), code=totp(begun.secret))

    return finish


# What ends them.


async def changes_the_address(owner: Owner) -> None:
    await (await an_address_change(owner))()


async def changes_the_password(owner: Owner) -> None:
    await owner.world.auth.passwords.change(
        await owner.caller(), old_password=PASSWORD, new_password=OTHER_PASSWORD
    )


async def resets_the_password(owner: Owner) -> None:
    await (await a_reset(owner))()


async def enables_two_factor(owner: Owner) -> None:
    await (await an_enrolment(owner))()


async def disables_two_factor(owner: Owner) -> None:
    await owner.world.auth.two_factor.disable(
        await owner.caller(), password=PASSWORD, factor=owner.factor(-1)
    )


async def renews_the_recovery_codes(owner: Owner) -> None:
    await owner.world.auth.two_factor.renew(
        await owner.caller(), password=PASSWORD, factor=owner.factor(-1)
    )


async def ends_all_other_sessions(owner: Owner) -> None:
    await owner.world.auth.sessions.revoke_all(await owner.caller(), current=False)


BEGIN = [a_reset, a_new_device, an_address_change, an_enrolment]
WITHOUT = [
    changes_the_address,
    changes_the_password,
    resets_the_password,
    enables_two_factor,
    ends_all_other_sessions,
]
WITH = [
    changes_the_address,
    changes_the_password,
    disables_two_factor,
    renews_the_recovery_codes,
    ends_all_other_sessions,
]
CASES = [
    *[(begin, change, False) for begin in BEGIN for change in WITHOUT],
    *[(begin, change, True) for begin in BEGIN[:-1] for change in WITH],
]


async def owner_of(world: World, *, enrolled: bool) -> Owner:
    await world.confirm()
    signed_in = await world.sign_in()
    if not enrolled:
        return Owner(world, signed_in)
    flow = world.auth.two_factor
    begun = await flow.enrol(await world.caller(signed_in), password=PASSWORD)
    await flow.confirm(await world.caller(signed_in), code=totp(begun.secret, -1))
    two_factor = world.ana.two_factor
    assert two_factor is not None
    # As if it had been long ago: codes of now and of the step before are unused.
    unused = two_factor.model_copy(update={"last_step": 0})
    world.store.users["s1"] = world.ana.model_copy(update={"two_factor": unused})
    return Owner(world, signed_in, begun.secret)


def proofs(user: User) -> tuple[object, ...]:
    """Return what a challenge might change."""
    secret = user.two_factor and user.two_factor.secret
    return user.email, user.password_hash, user.devices, secret


@pytest.mark.parametrize(("begin", "change", "enrolled"), CASES)
async def test_what_was_begun_before_a_change_is_not_accepted_after_it(
    world: World,
    begin: Callable[[Owner], Awaitable[Finish]],
    change: Callable[[Owner], Awaitable[None]],
    *,
    enrolled: bool,
) -> None:
    owner = await owner_of(world, enrolled=enrolled)
    finish = await begin(owner)
    await change(owner)
    before = proofs(world.ana)
    status, reason = await refused(finish())
    assert (status, reason) in {
        (400, "wrong_code"),
        (401, "invalid_token"),
        (401, "session_over"),  # a reset has ended the session that began it
        (409, "no_email_change"),
        (409, "no_enrolment"),
        (409, "two_factor_enabled"),
    }
    assert proofs(world.ana) == before


@pytest.mark.parametrize(
    ("begin", "enrolled"),
    [*[(begin, False) for begin in BEGIN], *[(begin, True) for begin in BEGIN[:-1]]],
)
async def test_without_a_change_it_is_accepted(
    world: World, begin: Callable[[Owner], Awaitable[Finish]], *, enrolled: bool
) -> None:
    owner = await owner_of(world, enrolled=enrolled)
    before = proofs(world.ana)
    await (await begin(owner))()
    assert proofs(world.ana) != before


@pytest.mark.parametrize("begin", [a_reset, a_new_device, an_enrolment])
async def test_a_change_while_it_is_completed_wins(
    world: World, begin: Callable[[Owner], Awaitable[Finish]]
) -> None:
    owner = await owner_of(world, enrolled=False)
    finish = await begin(owner)
    read, reads = world.store.user, 0

    async def changed_after_it_was_read(user_id: str) -> User | None:
        nonlocal reads
        found = await read(user_id)
        reads += 1
        if found is not None and reads == 1:
            world.store.users["s1"] = found.model_copy(
                update={"challenge_epoch": found.challenge_epoch + 1, "email": "b@example.org"}
            )
        return found

    world.store.user = changed_after_it_was_read  # type: ignore[method-assign]
    before = world.ana.password_hash, world.ana.devices, world.ana.two_factor
    assert (await refused(finish()))[0] in {400, 401, 409}
    assert (world.ana.password_hash, world.ana.devices, world.ana.two_factor) == before
