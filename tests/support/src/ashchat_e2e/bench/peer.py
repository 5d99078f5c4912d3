"""The upper bound: plain argon2 on every core of this machine, with auth's parameters."""

import time
from concurrent.futures import ThreadPoolExecutor

import argon2

from ashchat_auth import passwords
from ashchat_e2e.bench import machine

SECONDS = 2.0


def verifications_per_second(seconds: float = SECONDS) -> float:
    """Return how many passwords argon2-cffi verifies per second under no other load."""
    hasher = argon2.PasswordHasher(
        time_cost=passwords.TIME_COST,
        memory_cost=passwords.MEMORY_KIB,
        parallelism=passwords.PARALLELISM,
    )
    hashed = hasher.hash("correct horse")
    started = time.monotonic()

    def work() -> int:
        done = 0
        while not done or time.monotonic() - started < seconds:
            hasher.verify(hashed, "correct horse")
            done += 1
        return done

    threads = machine.cores()
    with ThreadPoolExecutor(threads) as pool:
        done = sum(future.result() for future in [pool.submit(work) for _ in range(threads)])
    return done / (time.monotonic() - started)


def parameters() -> str:
    """Return the parameters in readable form."""
    return (
        f"argon2id, {passwords.MEMORY_KIB // 1024} MiB, t = {passwords.TIME_COST}, "
        f"p = {passwords.PARALLELISM}"
    )
