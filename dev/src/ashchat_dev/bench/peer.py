"""The upper bound: plain argon2 on this machine, with auth's parameters and as many threads."""

import time
from concurrent.futures import ThreadPoolExecutor

import argon2

from ashchat_auth import passwords

SECONDS = 2.0


def verifications_per_second(seconds: float = SECONDS) -> float:
    """Return how many passwords argon2-cffi verifies a second, doing nothing else."""
    hasher = argon2.PasswordHasher(
        time_cost=passwords.TIME_COST,
        memory_cost=passwords.MEMORY_KIB,
        parallelism=passwords.PARALLELISM,
    )
    hashed = hasher.hash("correct horse")
    started = time.monotonic()

    def work() -> int:
        done = 0
        while time.monotonic() - started < seconds:
            hasher.verify(hashed, "correct horse")
            done += 1
        return done

    with ThreadPoolExecutor(passwords.WORKERS) as pool:
        done = sum(
            future.result() for future in [pool.submit(work) for _ in range(passwords.WORKERS)]
        )
    return done / (time.monotonic() - started)


def parameters() -> str:
    """Return the parameters as a person reads them."""
    return (
        f"argon2id, {passwords.MEMORY_KIB // 1024} MiB, t = {passwords.TIME_COST}, "
        f"p = {passwords.PARALLELISM}, {passwords.WORKERS} threads"
    )
