"""Turns go around accounts and their rooms."""

import asyncio

from ashchat_core.fairness import FairTurns, Lane, QueueFullError


async def order(*lanes: Lane) -> list[Lane]:
    """Return the order in which lanes get the only turn, if all ask while it is taken."""
    turns = FairTurns(1)
    served: list[Lane] = []

    async def take(lane: Lane) -> None:
        async with turns.turn(lane):
            served.append(lane)

    async with turns.turn(Lane("first", "r")):
        tasks = [asyncio.create_task(take(lane)) for lane in lanes]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return served


async def test_accounts_take_turns_whatever_each_asks_for() -> None:
    ana, luz, eva = Lane("ana", "r"), Lane("luz", "r"), Lane("eva", "r")
    assert await order(ana, ana, ana, ana, luz, eva, luz) == [ana, luz, eva, ana, luz, ana, ana]


async def test_many_rooms_give_an_account_no_more_turns() -> None:
    rooms = [Lane("ana", f"r{number}") for number in range(4)]
    luz = Lane("luz", "r")
    assert await order(*rooms, luz) == [rooms[0], luz, *rooms[1:]]


async def test_the_rooms_of_an_account_take_turns() -> None:
    busy, quiet = Lane("ana", "busy"), Lane("ana", "quiet")
    assert await order(busy, busy, busy, quiet) == [busy, quiet, busy, busy]


async def test_a_turn_of_a_cancelled_caller_goes_to_the_next() -> None:
    turns = FairTurns(2)
    lane = Lane("ana", "r")
    entered = asyncio.Event()

    async def take() -> None:
        async with turns.turn(lane):
            entered.set()

    async with turns.turn(lane), turns.turn(lane):
        waiting = [asyncio.create_task(take()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    waiting[1].cancel()  # it has its turn already, and does not know yet
    await asyncio.wait_for(entered.wait(), 1)
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(1), turns.turn(lane), turns.turn(lane):
        pass


async def test_a_lower_rank_is_served_first() -> None:
    known, stranger = Lane("ana", "r"), Lane("host", "r", rank=1)
    assert await order(stranger, stranger, known, known) == [known, known, stranger, stranger]


async def test_who_waits_most_loses_a_place_when_the_queue_is_full() -> None:
    turns = FairTurns(1, waiting_max=4)
    outcomes: dict[str, list[str]] = {"flood": [], "ana": [], "luz": []}

    async def take(account: str) -> None:
        try:
            async with turns.turn(Lane(account, "r")):
                outcomes[account].append("served")
        except QueueFullError:
            outcomes[account].append("refused")

    async with turns.turn(Lane("first", "r")):
        flood = [asyncio.create_task(take("flood")) for _ in range(10)]
        await asyncio.sleep(0)
        assert outcomes["flood"] == ["refused"] * 6
        others = [asyncio.create_task(take(account)) for account in ("ana", "luz")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.gather(*flood, *others)
    assert outcomes["ana"] == outcomes["luz"] == ["served"]
    assert outcomes["flood"].count("served") == 2


async def test_a_cancelled_caller_leaves_the_queue() -> None:
    turns = FairTurns(1, waiting_max=1)
    lane = Lane("ana", "r")

    async def take() -> None:
        async with turns.turn(lane):
            pass

    async with turns.turn(lane):
        for _ in range(3):
            waiting = asyncio.create_task(take())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        last = asyncio.create_task(take())
        await asyncio.sleep(0)
    await last
