import threading

from ashchat_auth.passwords import MEMORY_KIB, PARALLELISM, TIME_COST, Argon2


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
