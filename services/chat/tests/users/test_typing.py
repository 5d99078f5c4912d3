"""Typing: whatever a client sends, others get little, and it ends by itself on every pod."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from ashchat_chat.users import typing as typing_module
from ashchat_chat.users.typing import Typing

QUIET = 0.02


@dataclass
class Pod:
    """What its sockets are sent."""

    typing: Typing
    pushed: list[bool] = field(default_factory=list)

    def tell(self, _room: str, event: str, payload: dict[str, Any], *, but: str) -> None:
        assert (event, payload["user_id"]) == ("typing", but)
        self.pushed.append(payload["is_typing"])


@pytest.fixture
def published() -> list[str]:
    return []


@pytest.fixture
def pods(monkeypatch: pytest.MonkeyPatch, published: list[str]) -> list[Pod]:
    monkeypatch.setattr(typing_module, "QUIET_SECONDS", QUIET)
    monkeypatch.setattr(typing_module, "EXPIRES_SECONDS", 3 * QUIET)
    made: list[Pod] = []

    def publish(text: str) -> None:
        published.append(text)
        for one in made:
            one.typing.heard(text)

    for number in range(2):
        rooms: Any = Pod.__new__(Pod)
        rooms.__init__(Typing(rooms, publish, pod=f"p{number}"))
        made.append(rooms)
    return made


async def test_it_is_pushed_on_every_pod_at_once_and_ends_by_itself(pods: list[Pod]) -> None:
    pods[0].typing.said("room", "ana", is_typing=True)
    assert [pod.pushed for pod in pods] == [[True], [True]]
    await asyncio.sleep(5 * QUIET)
    assert [pod.pushed for pod in pods] == [[True, False], [True, False]]
    assert not pods[0].typing._states
    assert not pods[1].typing._states


async def test_changing_all_the_time_is_a_few_frames(pods: list[Pod], published: list[str]) -> None:
    """Finding 15: 1,000 frames of a contact were 1,000 frames to the other, on every pod."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(1_000):
        pods[0].typing.said("room", "ana", is_typing=number % 2 == 0)
        if number % 100 == 0:
            await asyncio.sleep(QUIET / 10)
    most = (loop.time() - began) / QUIET + 2
    assert len(pods[0].pushed) <= most
    assert len(published) <= most
    await asyncio.sleep(3 * QUIET)
    assert [pod.pushed[-1] for pod in pods] == [False, False]


async def test_what_many_pods_publish_is_throttled_by_the_one_that_hears_it(
    pods: list[Pod],
) -> None:
    text = '{{"pod": "{}", "room": "room", "user": "ana", "is_typing": {}}}'
    for number in range(100):
        pods[1].typing.heard(text.format(f"x{number}", "true" if number % 2 else "false"))
    assert pods[1].pushed == [True]


async def test_a_pod_that_dies_leaves_nobody_typing(pods: list[Pod]) -> None:
    pods[1].typing.heard('{"pod": "dead", "room": "room", "user": "ana", "is_typing": true}')
    await asyncio.sleep(4 * QUIET)
    assert pods[1].pushed == [True, False]
    assert pods[0].pushed == []


async def test_the_end_is_pushed_when_the_quiet_time_is_over(pods: list[Pod]) -> None:
    pods[0].typing.said("room", "ana", is_typing=True)
    pods[0].typing.said("room", "ana", is_typing=False)
    assert pods[0].pushed == [True]
    await asyncio.sleep(2 * QUIET)
    assert pods[0].pushed == [True, False]


async def test_who_never_typed_ends_nothing(pods: list[Pod], published: list[str]) -> None:
    pods[0].typing.said("room", "ana", is_typing=False)
    assert (pods[0].pushed, published) == ([], [])
