import asyncio
import os
import threading
import unicodedata

import argon2
import pytest

from ashchat_auth import common_passwords
from ashchat_auth.passwords import MEMORY_KIB, PARALLELISM, TIME_COST, WORKERS, Argon2
from ashchat_auth.service.password_rules import fold
from ashchat_auth.service.ports import Asker
from ashchat_core.errors import UnavailableError

HOST = Asker("192.0.2.1")


async def test_the_parameters_are_written_into_the_hash_and_meet_owasps() -> None:
    hashed = await Argon2().hash("correct horse", HOST)
    assert hashed.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}$")
    assert MEMORY_KIB >= 19 * 1024
    assert TIME_COST >= 2


async def test_right_wrong_nobody_and_broken() -> None:
    passwords = Argon2()
    hashed = await passwords.hash("correct horse", HOST)
    assert await passwords.verify(hashed, "correct horse", HOST)
    assert not await passwords.verify(hashed, "correct horsf", HOST)
    assert not await passwords.verify(None, "nobody has this password", HOST)
    assert not await passwords.verify("not a hash", "correct horse", HOST)


async def test_nothing_is_hashed_on_the_event_loops_thread() -> None:
    passwords = Argon2()
    where = await passwords._run(HOST, lambda *_: threading.current_thread(), "")
    assert where is not threading.current_thread()
    assert where.name.startswith("argon2")


@pytest.mark.parametrize(("own", "hashing"), [(0, 10), (15, 15)])
def test_hashing_threads_never_ask_for_more_than_the_process_has(own: int, hashing: int) -> None:
    """An unprivileged process must not decrease its niceness (setpriority(2))."""
    found: list[int] = []

    def run() -> None:  # a thread of the test's, whose niceness the pool's threads inherit
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own)
        pool = Argon2()._pool
        niceness = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        found.append(niceness.result())

    if os.getpriority(os.PRIO_PROCESS, 0) > own:
        pytest.skip("the tests themselves run with a greater niceness")
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [hashing]


async def test_every_way_to_a_hash_leaves_the_event_loops_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where: list[threading.Thread] = []
    hasher = argon2.PasswordHasher

    def noting(method: str) -> object:
        original = getattr(hasher, method)

        def note(*args: object) -> object:
            where.append(threading.current_thread())
            return original(*args)

        return note

    for method in ("hash", "verify"):
        monkeypatch.setattr(hasher, method, noting(method))
    passwords = Argon2()
    await passwords.prepare()
    hashed = await passwords.hash("correct horse", HOST)
    assert await passwords.verify(hashed, "correct horse", HOST)
    assert not await passwords.verify(None, "correct horse", HOST)
    assert len(where) == 4
    assert all(thread.name.startswith("argon2") for thread in where)


async def test_an_unknown_address_costs_one_hash_from_the_first_on() -> None:
    passwords = Argon2()
    await passwords.prepare()
    before = passwords._dummy_hash
    await passwords.verify(None, "x", HOST)
    assert passwords._dummy_hash is before is not None


async def test_one_form_of_each_character_whatever_the_keyboard() -> None:
    passwords = Argon2()
    hashed = await passwords.hash(unicodedata.normalize("NFD", "contrase\u00f1a"), HOST)
    assert await passwords.verify(hashed, unicodedata.normalize("NFC", "contrase\u00f1a"), HOST)


async def test_a_hash_of_other_parameters_is_outdated() -> None:
    passwords = Argon2()
    weaker = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    assert passwords.outdated(weaker)
    assert not passwords.outdated(await passwords.hash("x", HOST))
    assert not passwords.outdated("not a hash")


async def test_a_host_that_floods_the_queue_gets_503_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ashchat_auth.passwords.WAITING_MAX", 20)
    passwords = Argon2()
    served: list[Asker] = []
    release = threading.Event()

    def work(_: str) -> None:
        assert release.wait(10)

    async def ask(asker: Asker) -> None:
        await passwords._run(asker, work, "")
        served.append(asker)

    flood = [asyncio.create_task(ask(HOST)) for _ in range(100)]
    await asyncio.sleep(0)
    stranger, owner = Asker("203.0.113.5"), Asker(HOST.address, "ana")
    others = [asyncio.create_task(ask(stranger)), asyncio.create_task(ask(owner))]
    await asyncio.sleep(0)
    release.set()
    outcomes = await asyncio.gather(*flood, *others, return_exceptions=True)
    refused = [error for error in outcomes[:-2] if isinstance(error, UnavailableError)]
    assert len(refused) == 100 - (WORKERS + 1) - 19, "all but what has a turn or waits"
    assert outcomes[-2:] == [None, None]
    assert owner in served[: WORKERS + 2], "before all strangers"
    assert stranger in served[: WORKERS + 4], "a host's hashes take turns with others'"


def test_the_common_passwords_are_thousands_folded_and_long_enough() -> None:
    common = common_passwords.load()
    assert len(common) > 15_000
    assert all(8 <= len(password) <= 128 and fold(password) == password for password in common)
    assert {"password", "12345678", "iloveyou", "password1"} <= common
    assert "correct horse" not in common
