"""A changed profile reaches the people of its rooms, on every pod, and so do translations."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.ports import Profile, StoreUnavailableError
from ashchat_chat.users import profile_changes as news_module
from ashchat_chat.users.profile_changes import ProfileChanges
from chat_world import ROOM, Reader, World, enter, eventually, say, world


class Profiles:
    """Where profiles are."""

    def __init__(self) -> None:
        self.kept = {who: Profile(who, who.title(), f"{who}_x", "es") for who in ("ana", "ben")}
        self.asked = 0
        self.away = False

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailableError
        return {who: self.kept[who] for who in user_ids if who in self.kept}


@asynccontextmanager
async def telling(it: World, profiles: Profiles) -> AsyncIterator[list[ProfileChanges]]:
    """Connect the pods' news with each other."""
    made: list[ProfileChanges] = []

    def publish(channel: str, text: str) -> None:
        assert channel == "chat:profiles"
        for one in made:
            one.heard(text)

    made += [ProfileChanges(profiles, rooms.live, rooms.languages, publish) for rooms in it.pods]
    tasks = [asyncio.create_task(one.run()) for one in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_module, "AGAIN_SECONDS", 0.005)


async def test_the_others_get_receiver_info_in_both_protocols_on_every_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profiles = Profiles()
    async with world(monkeypatch, pods=2) as it, telling(it, profiles) as news:
        two, one = Reader("ben", "en"), Reader("ben", "en", protocol=1)
        own = Reader("ana", "es")
        await enter(it.pods[0], two)
        await enter(it.pods[1], one)
        await enter(it.pods[1], own)
        profiles.kept["ana"] = Profile("ana", "Anita", "ana_x", "pt")
        news[0].changed("ana")
        news[0].changed("nobody")
        await eventually(lambda: two.events("receiver_info") and one.events("receiver_info"))
        told = {
            "nickname": "Anita", "description": "", "photo_url": "", "preferred_language": "pt",
            "tag_user_id": "ana_x",
        }  # fmt: skip
        assert two.events("receiver_info") == one.events("receiver_info") == [told]
        assert own.events("receiver_info") == []


async def test_a_store_that_is_away_delays_the_news(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = Profiles()
    async with world(monkeypatch) as it, telling(it, profiles) as news:
        reader = Reader("ben", "en")
        await enter(it.pods[0], reader)
        profiles.away = True
        news[0].changed("ana")
        await eventually(lambda: profiles.asked > 1)
        assert reader.events("receiver_info") == []
        profiles.away = False
        await eventually(lambda: reader.events("receiver_info"))


async def test_what_is_written_after_a_change_is_wanted_in_the_new_language_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it, telling(it, Profiles()) as news:
        writer: Rooms = it.pods[1]
        before, _ = await say(writer, "ana", "1")
        it.store.reads["ben"] = "de"
        remembered, _ = await say(writer, "ana", "2")
        news[0].changed("ben")
        after, _ = await say(writer, "ana", "3")
        assert [one.targets for one in (before, remembered, after)] == [
            ("en",), ("en",), ("de",),
        ]  # fmt: skip
        it.store.reads["ben"] = "es"
        news[0].changed("ben")
        same, _ = await say(writer, "ana", "4")
        assert same.targets == ()
        assert [job.targets for job in it.jobs] == [("en",), ("en",), ("de",)]
        assert it.store.sent(ROOM)[-1] == same


async def test_changing_all_the_time_is_a_few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding 15: every change of a name was sent to all contacts, on all pods."""
    monkeypatch.setattr(news_module, "AGAIN_SECONDS", 0.05)
    profiles = Profiles()
    async with world(monkeypatch) as it, telling(it, profiles) as news:
        reader = Reader("ben", "en")
        await enter(it.pods[0], reader)
        for number in range(200):
            profiles.kept["ana"] = Profile("ana", f"Ana {number}", "ana_x", "es")
            news[0].changed("ana")
            await asyncio.sleep(0)
        await eventually(lambda: reader.events("receiver_info")[-1]["nickname"] == "Ana 199")
        assert len(reader.events("receiver_info")) <= 5
