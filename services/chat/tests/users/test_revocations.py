"""What is over is over on every pod: lossless, once, and as long as a token may live."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ashchat_chat.users import revocations as revocations_module
from ashchat_chat.users.revocations import Over, Revocations, epochs_over, session_over, user_over
from chat_world import RedisUnavailableError, SharedLog, eventually, revocations


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations_module, "AGAIN_SECONDS", 0.001)


@pytest.fixture
def log() -> SharedLog:
    return SharedLog()


@asynccontextmanager
async def following(*pods: Revocations) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(pod.follow()) for pod in pods]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def knows(pod: Revocations, session: str) -> bool:
    return pod.revoked(user="ana", session=session, epoch=1)


async def test_every_pod_learns_and_notifies_once(log: SharedLog) -> None:
    here, there = revocations(log), revocations(log)
    told: list[str] = []
    there.call_on_new(lambda _: told.append("there"))
    async with following(here, there):
        for _ in range(2):  # delivered again
            await here.revoke([session_over(f"s{number}") for number in range(5)])
        assert knows(here, "s4")
        await eventually(lambda: all(knows(there, f"s{number}") for number in range(5)))
        await here.revoke([session_over("last")])
        await eventually(lambda: knows(there, "last"))
        # A page has two: two, two, one; then those again; then the last.
        assert len(told) == 4
    assert not knows(there, "another")


async def test_a_pod_that_starts_knows_all_before_it_is_ready(log: SharedLog) -> None:
    await revocations(log).revoke([session_over(f"s{number}") for number in range(7)])
    late = revocations(log)
    await late.load()
    assert all(knows(late, f"s{number}") for number in range(7))


async def test_without_redis_nothing_is_acknowledged_and_what_is_known_stays(
    log: SharedLog,
) -> None:
    here, there = revocations(log), revocations(log)
    async with following(here, there):
        await here.revoke([session_over("old")])
        await eventually(lambda: knows(there, "old"))
        log.away = True
        with pytest.raises(RedisUnavailableError):  # the message is held, and comes again
            await here.revoke([session_over("new")])
        assert knows(here, "new"), "the sockets of this pod close nevertheless"
        await asyncio.sleep(0.02)
        assert knows(there, "old")
        assert not knows(there, "new")
        log.away = False
        await here.revoke([session_over("new")])
        await eventually(lambda: knows(there, "new"))


async def test_a_redis_that_lost_what_it_had_is_followed_from_its_beginning(
    log: SharedLog,
) -> None:
    here, there = revocations(log), revocations(log)
    async with following(there):
        await here.revoke([session_over("a"), session_over("b")])
        await eventually(lambda: knows(there, "b"))
        log.away = True
        await eventually(lambda: there._cursor == revocations_module.BEGINNING)
        log.entries.clear()
        log.away = False
        await here.revoke([session_over("c")])
        await eventually(lambda: knows(there, "c"))
        assert knows(there, "a")


async def test_what_no_token_can_be_of_is_forgotten(log: SharedLog) -> None:
    here = revocations(log, keep_seconds=0.02)
    async with following(here):
        await here.revoke([session_over("s")])
        assert knows(here, "s")
        await eventually(lambda: not knows(here, "s"))


async def test_a_person_who_is_gone_is_named_by_a_digest(log: SharedLog) -> None:
    here = revocations(log)
    await here.revoke([user_over("ana")])
    assert here.revoked(user="ana", session="any", epoch=1)
    assert not here.revoked(user="ben", session="any", epoch=1)
    assert "ana" not in str(log.entries)


async def test_all_sessions_below_an_epoch_are_over_but_the_one_that_started_it(
    log: SharedLog,
) -> None:
    here, late = revocations(log), revocations(log)
    await here.revoke([epochs_over("ana", 2, "kept")])
    await here.revoke([epochs_over("ana", 4, "newer"), epochs_over("ana", 3, None)])
    await late.load()
    for pod in (here, late):
        for session, epoch in (("other", 1), ("other", 3), ("kept", 1), ("kept", 2)):
            assert pod.revoked(user="ana", session=session, epoch=epoch), (session, epoch)
        assert not pod.revoked(user="ana", session="other", epoch=4)
        assert not pod.revoked(user="ana", session="newer", epoch=3)
        assert not pod.revoked(user="ben", session="other", epoch=1)
    assert "ana" not in str(log.entries)


async def test_an_ended_epoch_is_forgotten_as_well(log: SharedLog) -> None:
    here = revocations(log, keep_seconds=0.02)
    async with following(here):
        await here.revoke([epochs_over("ana", 2, None)])
        assert knows(here, "s")
        await eventually(lambda: not knows(here, "s"))
        assert not here._epochs


async def test_what_a_newer_version_writes_harms_nobody(log: SharedLog) -> None:
    log.entries.append(Over("", ""))
    here = revocations(log)
    await here.load()
    assert not knows(here, "s")
