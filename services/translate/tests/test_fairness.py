"""Turns go around accounts and their rooms."""

import asyncio

from ashchat_translate.fairness import FairTurns, Lane


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
