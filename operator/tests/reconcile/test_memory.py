"""The memory of each AshChat, and its background work, which ends with it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.backends import ensure
from ashchat_operator.backends.base import Backend, BackendResult
from ashchat_operator.backends.ensure import Backends
from ashchat_operator.backends.redis.desired import RedisTarget
from ashchat_operator.credentials.candidates import Candidate, Pair, ProvidedSecret, Verdict
from ashchat_operator.reconcile import declare
from ashchat_operator.reconcile.memory import Memories, Memory

KEY, OTHER = ("team", "small"), ("team", "large")
WANTED = Backends(logins=(), redis=RedisTarget("redis", 6379, "admin", "secret"))
CANDIDATE = Candidate("smtp", Service.EMAIL, "server", "mail", Pair(ProvidedSecret({}, "1")))


def nothing() -> None:
    """Wake no worker."""


class Endless:
    """Checks and trials that end only when they are cancelled."""

    def __init__(self) -> None:
        self.running = 0

    async def ensure(self, _: Backends) -> dict[Backend, BackendResult]:
        await self._wait()
        return {}

    async def attempt(self, _: Candidate) -> Verdict:
        await self._wait()
        return Verdict(Reason.ACCEPTED, "")

    async def _wait(self) -> None:
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> Endless:
    result = Endless()
    monkeypatch.setattr(ensure, "ensure", result.ensure)
    monkeypatch.setattr(declare, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr("ashchat_operator.credentials.trials.PATIENCE_SECONDS", 0.01)
    return result


@pytest.fixture
async def memories() -> AsyncIterator[Memories]:
    result = Memories()
    yield result
    await result.close()


async def work(memory: Memory, endless: Endless) -> None:
    """Start both kinds of background work."""
    await memory.declarer.results(1, WANTED)
    await memory.trials.verdicts({"smtp": CANDIDATE}, endless.attempt)


async def test_an_ashchat_retains_its_memory(memories: Memories) -> None:
    assert memories.of(KEY, nothing) is memories.of(KEY, nothing)
    assert memories.of(KEY, nothing) is not memories.of(OTHER, nothing)


async def test_background_work_ends_when_an_ashchat_is_forgotten(
    memories: Memories, endless: Endless
) -> None:
    await work(memories.of(KEY, nothing), endless)
    await work(memories.of(OTHER, nothing), endless)
    assert endless.running == 4
    await memories.forget(KEY)
    assert endless.running == 2
    assert len(memories) == 1


async def test_background_work_ends_with_the_process(memories: Memories, endless: Endless) -> None:
    await work(memories.of(KEY, nothing), endless)
    await memories.close()
    assert endless.running == 0
    assert len(memories) == 0


async def test_a_pause_ends_background_work_and_retains_the_rest(
    memories: Memories, endless: Endless
) -> None:
    memory = memories.of(KEY, nothing)
    memory.referenced = frozenset({"mail"})
    await work(memory, endless)
    await memories.rest(KEY, nothing)
    assert endless.running == 0
    assert not memory.declarer.asking
    assert [*memories.referring("team", "mail")] == ["small"]
