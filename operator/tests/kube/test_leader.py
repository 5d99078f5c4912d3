"""When a Lease may be acquired, and that two candidates never lead at once. Time is simulated."""

import asyncio
import copy
from typing import Any

import pytest

from ashchat_dev.waiting import until
from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.kube.leader import (
    Election,
    LeaseLostError,
    LeaseRecord,
    ObservedLease,
    Timing,
    claimed,
    free,
    observed,
)

HELD = LeaseRecord("a", 10, "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:09.000000Z", 3)
QUICK = Timing(lease=1, renew=0.8, retry=0.02)


def test_a_lease_is_free_without_a_holder_and_for_its_holder() -> None:
    assert free(ObservedLease(LeaseRecord(), 0), "b", 0)
    assert free(ObservedLease(HELD, 0), "a", 0)
    assert not free(ObservedLease(HELD, 0), "b", 0)


def test_a_lease_is_free_when_no_renewal_was_seen_for_its_duration() -> None:
    assert not free(ObservedLease(HELD, 100), "b", 110)
    assert free(ObservedLease(HELD, 100), "b", 110.1)


def test_times_of_the_holders_clock_are_not_compared() -> None:
    # Years old or years ahead: only the time when we observed a change counts.
    first = observed(None, HELD, 50)
    assert observed(first, HELD, 59) == first
    renewed = claimed(HELD, "a", 10, "1970-01-01T00:00:00.000000Z")
    assert observed(first, renewed, 59) == ObservedLease(renewed, 59)


def test_a_change_of_the_holder_is_a_transition_and_a_renewal_is_not() -> None:
    assert claimed(HELD, "a", 10, "now").transitions == 3
    assert claimed(HELD, "a", 10, "now").acquired == HELD.acquired
    taken = claimed(HELD, "b", 10, "now")
    assert (taken.holder, taken.transitions, taken.acquired) == ("b", 4, "now")
    assert claimed(LeaseRecord(), "b", 10, "now").transitions == 0


def test_a_lease_record_reads_back_as_written() -> None:
    assert LeaseRecord.read({"spec": HELD.spec()}) == HELD
    assert LeaseRecord.read({}) == LeaseRecord()


class Server:
    """An API server with one Lease; with `away` it rejects, with `silent` it never responds."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away: set[str] = set()
        self.silent = False
        self.writers: list[str] = []
        self.refused = 0

    def api(self, who: str) -> "FakeApi":
        return FakeApi(self, who)


class FakeApi:
    def __init__(self, server: Server, who: str) -> None:
        self._server = server
        self._who = who

    async def _answer(self) -> None:
        if self._server.silent:
            await asyncio.Event().wait()
        if self._who in self._server.away:
            self._server.refused += 1
            raise ApiServerError(500, "away")

    async def get(self, *_: object) -> dict[str, Any] | None:
        await self._answer()
        return copy.deepcopy(self._server.lease)

    async def create(self, body: dict[str, Any], _: str) -> dict[str, Any]:
        await self._answer()
        if self._server.lease is not None:
            raise ApiServerError(409, "there")
        return self._write(body, 1)

    async def replace(self, body: dict[str, Any], _: str) -> dict[str, Any]:
        await self._answer()
        now = self._server.lease
        if now is None or now["metadata"]["version"] != body["metadata"]["version"]:
            raise ApiServerError(409, "changed")
        return self._write(body, now["metadata"]["version"] + 1)

    def _write(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        metadata = {**body["metadata"], "version": version}
        self._server.lease = {**copy.deepcopy(body), "metadata": metadata}
        self._server.writers.append(self._who)
        return copy.deepcopy(self._server.lease)


def leads(who: Election) -> bool:
    return who.leading


def candidate(server: Server, who: str) -> Election:
    return Election(server.api(who), ("ns", "lease"), who, timing=QUICK)  # type: ignore[arg-type]


async def test_the_first_leads_and_the_second_waits_until_it_is_released() -> None:
    server = Server()
    first, second = candidate(server, "a"), candidate(server, "b")
    await first.win()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.win())
    await asyncio.sleep(3 * QUICK.lease / 2)
    assert leads(first)
    assert second.seen
    assert not leads(second)
    assert not waiting.done()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await first.release()
    assert not leads(first)
    async with asyncio.timeout(QUICK.lease / 2):
        await waiting
    assert leads(second)


async def test_a_leader_that_vanishes_is_replaced_after_its_lease() -> None:
    server = Server()
    first, second = candidate(server, "a"), candidate(server, "b")
    await first.win()
    began = asyncio.get_running_loop().time()
    await second.win()
    took = asyncio.get_running_loop().time() - began
    assert took >= QUICK.lease
    assert not leads(first), "it knows by its own clock that its time is over"
    assert LeaseRecord.read(server.lease or {}).transitions == 1


async def test_a_restarted_pod_leads_again_at_once() -> None:
    server = Server()
    await candidate(server, "a").win()
    async with asyncio.timeout(QUICK.lease / 2):
        await candidate(server, "a").win()


@pytest.mark.parametrize("trouble", ["refused", "silent"])
async def test_a_leader_that_cannot_renew_exits_before_another_may_lead(trouble: str) -> None:
    server = Server()
    first, second = candidate(server, "a"), candidate(server, "b")
    await first.win()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.win())
    await asyncio.sleep(0.1)
    server.away.add("a")
    server.silent = trouble == "silent"
    with pytest.raises(LeaseLostError, match="not renewed in time"):
        await holding
    assert not leads(first)
    assert not leads(second)
    server.silent = False
    await waiting
    assert leads(second)


async def test_a_leader_whose_lease_was_taken_exits_at_once() -> None:
    server = Server()
    first = candidate(server, "a")
    await first.win()
    assert server.lease is not None
    server.lease["spec"] = claimed(HELD, "b", 10, "now").spec()
    server.lease["metadata"]["version"] += 1
    with pytest.raises(LeaseLostError, match="it is b's now"):
        await first.hold()
    await first.release()
    assert LeaseRecord.read(server.lease).holder == "b"


async def test_a_short_outage_of_the_api_server_does_not_end_leadership() -> None:
    server = Server()
    first = candidate(server, "a")
    await first.win()
    holding = asyncio.create_task(first.hold())
    server.away.add("a")
    await until(lambda: server.refused == 3, within=10, every=0.001)
    server.away.clear()
    renewals = len(server.writers)
    await until(lambda: len(server.writers) > renewals, within=10, every=0.001)
    assert leads(first)
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)


async def test_one_of_many_candidates_leads() -> None:
    server = Server()
    candidates = [candidate(server, str(number)) for number in range(5)]
    tasks = [asyncio.create_task(each.win()) for each in candidates]
    # Each candidate has read the Lease, so each that may lead does.
    await until(lambda: all(each.seen for each in candidates), within=10, every=0.01)
    assert [each.leading for each in candidates].count(True) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
