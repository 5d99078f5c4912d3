import os
import threading
import unicodedata

import argon2
import pytest

from ashchat_auth import common_passwords
from ashchat_auth.passwords import MEMORY_KIB, PARALLELISM, TIME_COST, WAITING_MAX, Argon2
from ashchat_auth.service.password_rules import fold
from ashchat_core.errors import UnavailableError


async def test_the_parameters_are_written_into_the_hash_and_meet_owasps() -> None:
    hashed = await Argon2().hash("correct horse")
    assert hashed.startswith(f"$argon2id$v=19$m={MEMORY_KIB},t={TIME_COST},p={PARALLELISM}$")
    assert MEMORY_KIB >= 19 * 1024
    assert TIME_COST >= 2


async def test_right_wrong_nobody_and_broken() -> None:
    passwords = Argon2()
    hashed = await passwords.hash("correct horse")
    assert await passwords.verify(hashed, "correct horse")
    assert not await passwords.verify(hashed, "correct horsf")
    assert not await passwords.verify(None, "nobody has this password")
    assert not await passwords.verify("not a hash", "correct horse")


async def test_nothing_is_hashed_on_the_event_loops_thread() -> None:
    passwords = Argon2()
    where = await passwords._run(lambda *_: threading.current_thread(), "")
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
    hashed = await passwords.hash("correct horse")
    assert await passwords.verify(hashed, "correct horse")
    assert not await passwords.verify(None, "correct horse")
    assert len(where) == 4
    assert all(thread.name.startswith("argon2") for thread in where)


async def test_an_unknown_address_costs_one_hash_from_the_first_on() -> None:
    passwords = Argon2()
    await passwords.prepare()
    before = passwords._dummy_hash
    await passwords.verify(None, "x")
    assert passwords._dummy_hash is before is not None


async def test_one_form_of_each_character_whatever_the_keyboard() -> None:
    passwords = Argon2()
    hashed = await passwords.hash(unicodedata.normalize("NFD", "contrase\u00f1a"))
    assert await passwords.verify(hashed, unicodedata.normalize("NFC", "contrase\u00f1a"))


async def test_a_hash_of_other_parameters_is_outdated() -> None:
    passwords = Argon2()
    weaker = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    assert passwords.outdated(weaker)
    assert not passwords.outdated(await passwords.hash("x"))
    assert not passwords.outdated("not a hash")


async def test_a_queue_that_is_too_long_says_503() -> None:
    passwords = Argon2()
    passwords._waiting = WAITING_MAX
    with pytest.raises(UnavailableError):
        await passwords.hash("x")


def test_the_common_passwords_are_thousands_folded_and_long_enough() -> None:
    common = common_passwords.load()
    assert len(common) > 15_000
    assert all(8 <= len(password) <= 128 and fold(password) == password for password in common)
    assert {"password", "12345678", "iloveyou", "password1"} <= common
    assert "correct horse" not in common
