"""The quota of stored text: exact on all pods, with few questions to Redis."""

from collections.abc import Sequence

import pytest

from ashchat_chat.users import text_allowances as allowances_module
from ashchat_chat.users.text_allowances import BLOCKS_PER_DAY, TextAllowances
from ashchat_core.admission.gate import Admission
from ashchat_core.admission.rules import Bucket

A_DAY = 1_000_000
BLOCK = A_DAY // BLOCKS_PER_DAY


class Counters(Admission):
    """Counts what is asked of the counters."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)
        self.calls = 0

    async def take(self, buckets: Sequence[Bucket]) -> int:
        self.calls += 1
        return await super().take(buckets)

    async def has_room(self, buckets: Sequence[Bucket]) -> bool:
        self.calls += 1
        return await super().has_room(buckets)


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def pods(counters: Counters) -> list[TextAllowances]:
    return [TextAllowances(counters, chars_per_day=A_DAY) for _ in range(2)]


async def stored(pods: Sequence[TextAllowances], chars: int, *, user: str = "ana") -> int:
    """Return how many texts of a length an account stores, on all pods in turn, until refused."""
    count = 0
    while not await pods[count % len(pods)].charge(user, chars):
        count += 1
    return count


async def test_an_account_stores_so_much_on_all_pods_together(
    pods: list[TextAllowances],
) -> None:
    count = await stored(pods, 300)
    # What is refused on one pod may be left on the other.
    assert A_DAY - BLOCK <= 300 * count <= A_DAY
    assert await pods[0].charge("ben", 300) == 0


async def test_a_thousand_messages_are_a_few_questions(
    pods: list[TextAllowances], counters: Counters
) -> None:
    for _ in range(1_000):
        assert not await pods[0].charge("ana", 300)
    assert counters.calls <= 1_000 * 300 / BLOCK + 1


async def test_a_refusal_says_when_there_is_room_and_charges_nothing(
    pods: list[TextAllowances],
) -> None:
    await stored(pods, 8_000)
    waits = [await pods[0].charge("ana", 8_000) for _ in range(20)]
    day = allowances_module.DAY_SECONDS
    assert all(0 < wait <= day * 8_000 / A_DAY + 1 for wait in waits)
    assert len(set(waits)) == 1


async def test_a_text_that_was_not_stored_is_not_charged(pods: list[TextAllowances]) -> None:
    for _ in range(A_DAY // 8_000 * 3):
        assert not await pods[0].charge("ana", 8_000)
        pods[0].give_back("ana", 8_000)


async def test_what_an_idle_pod_has_left_is_returned(pods: list[TextAllowances]) -> None:
    here, there = pods
    for _ in range(3 * BLOCKS_PER_DAY):
        assert not await here.charge("ana", 10)
        await here.close()
    assert not here._allowances
    assert 300 * await stored([there], 300) >= A_DAY - 3 * BLOCKS_PER_DAY * 10 - BLOCK


async def test_only_idle_allowances_are_returned(
    pods: list[TextAllowances], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.0
    monkeypatch.setattr(allowances_module, "monotonic", lambda: seconds)
    await pods[0].charge("ana", 10)
    seconds = 100.0
    await pods[0].charge("ben", 10)
    await pods[0].return_unused(before=50.0)
    assert set(pods[0]._allowances) == {"ben"}
