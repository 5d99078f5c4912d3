"""Groups: who may change what, on every pod, and what a removed member still sees."""

import asyncio

import pytest

from ashchat_chat.rooms import ports as ports_module
from ashchat_chat.rooms.errors import NoSuchRoomError, NoSuchUserError, Reason, RefusedError
from ashchat_chat.rooms.events import Members
from ashchat_chat.rooms.groups import Appearance
from ashchat_chat.rooms.history import History
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.rooms.ports import Availability
from ashchat_chat.rooms.room_list import RoomList
from ashchat_chat.rooms.views import Role, Settings
from chat_groups import TAGS, party
from chat_world import draft, eventually


async def test_a_group_is_created_once_with_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    async with party(monkeypatch) as it:
        assert it.members() == {"ana": Role.OWNER, "ben": Role.MEMBER, "cleo": Role.MEMBER}
        assert await it.groups[1].create("ana", Appearance("Other"), TAGS, "1") == it.room
        assert [event.kind for event in it.it.store.events[it.room]] == ["room", "members"]
        (listed,), _ = await RoomList(it.it.store, it.pods[1].directory).page("ben", limit=5)
        assert (listed.view.name, listed.view.kind) == ("Kitchen", "group")


async def test_a_creation_that_was_interrupted_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    async with party(monkeypatch) as it:
        lost = iter([False, True])
        it.it.store.fails = lambda name: name == "insert" and next(lost, False)
        with pytest.raises(Exception, match="insert"):
            await it.groups[0].create("ana", Appearance("Garden"), TAGS, "2")
        it.it.store.fails = lambda _: False
        room = await it.groups[1].create("ana", Appearance("Garden"), TAGS, "2")
        assert [event.kind for event in it.it.store.events[room]] == ["room", "members"]


CHANGES = {
    "add": lambda it, user: it.groups[0].add(it.room, user, ["dan_x"]),
    "rename": lambda it, user: it.groups[0].change(it.room, user, Appearance("Other")),
    "remove a member": lambda it, user: it.groups[0].remove(it.room, user, "cleo"),
    "remove an admin": lambda it, user: it.groups[0].remove(it.room, user, "ben"),
    "remove the owner": lambda it, user: it.groups[0].remove(it.room, user, "ana"),
    "promote": lambda it, user: it.groups[0].set_role(it.room, user, "cleo", Role.ADMIN),
}
ALLOWED = {
    "ana": {"add", "rename", "remove a member", "remove an admin", "promote"},
    "ben": {"add", "rename", "remove a member"},
    "cleo": set(),
}
"""Ana is the owner, Ben an admin, Cleo a member; to leave is tested by itself."""


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("user", ["ana", "ben", "cleo", "eve"])
async def test_roles(monkeypatch: pytest.MonkeyPatch, user: str, change: str) -> None:
    own = {"ana": "remove the owner", "ben": "remove an admin", "cleo": "remove a member"}
    if change == own.get(user):
        return
    async with party(monkeypatch, members_max=5) as it:
        await it.groups[1].set_role(it.room, "ana", "ben", Role.ADMIN)
        head = len(it.it.store.events[it.room])
        if user == "eve":
            with pytest.raises(NoSuchRoomError):
                await CHANGES[change](it, user)
        elif change in ALLOWED[user]:
            await CHANGES[change](it, user)
            head += 1
        else:
            with pytest.raises(RefusedError) as refused:
                await CHANGES[change](it, user)
            assert refused.value.reason is Reason.NOT_ALLOWED
        assert len(it.it.store.events[it.room]) == head


async def test_members_are_limited_although_two_pods_add_them_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party(monkeypatch, tags=("ben_x",)) as it:
        results = await asyncio.gather(
            it.groups[0].add(it.room, "ana", ["cleo_x"]),
            it.groups[1].add(it.room, "ana", ["dan_x"]),
            return_exceptions=True,
        )
        refused = [one for one in results if one is not None]
        assert [one.reason for one in refused if isinstance(one, RefusedError)] == [
            Reason.TOO_MANY_MEMBERS
        ]
        await it.pods[0].directory.refresh(await it.pods[0].directory.get(it.room))
        assert len(it.members()) == 3
        with pytest.raises(NoSuchUserError) as unknown:
            await it.groups[0].add(it.room, "ana", ["ben_x", "nobody_y"])
        assert unknown.value.args == ("nobody_y",)


async def test_ownership_is_transferred_before_the_owner_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party(monkeypatch) as it:
        with pytest.raises(RefusedError) as refused:
            await it.groups[0].remove(it.room, "ana", "ana")
        assert refused.value.reason is Reason.OWNER_MUST_TRANSFER
        await it.groups[0].set_role(it.room, "ana", "ben", Role.OWNER)
        assert it.members() == {"ana": Role.ADMIN, "ben": Role.OWNER, "cleo": Role.MEMBER}
        await it.groups[0].remove(it.room, "ana", "ana")
        assert "ana" not in it.members()


async def test_a_removed_member_sees_nothing_afterwards_on_any_pod(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party(monkeypatch) as it:
        readers = [await it.joined(pod, "cleo", protocol) for pod in (0, 1) for protocol in (1, 2)]
        ben = await it.joined(1, "ben")
        await it.say(0, "ana", "before")
        await it.groups[0].remove(it.room, "ana", "cleo")
        await eventually(lambda: all(reader.ended for reader in readers))
        counts = [len(reader.frames) for reader in readers]
        for pod in (0, 1):
            await it.say(pod, "ana", f"after {pod}")
            with pytest.raises(NoSuchRoomError):
                await it.joined(pod, "cleo")
            with pytest.raises(NoSuchRoomError):
                await it.say(pod, "cleo", f"mine {pod}")
            history = History(it.it.store, it.pods[pod].directory)
            with pytest.raises(NoSuchRoomError):
                await history.before(it.room, "cleo", None, 10)
        await eventually(lambda: [e for e in ben.events() if e.get("mobile_ref_id") == "after 1"])
        assert [len(reader.frames) for reader in readers] == counts
        assert all(reader.events()[-1]["kind"] == "members" for reader in readers[1::2])
        listed, _ = await RoomList(it.it.store, it.pods[1].directory).page("cleo", limit=5)
        assert listed == []


@pytest.mark.parametrize("setting", ["all", "joined"])
async def test_what_was_written_before_a_member_joined(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    settings = Settings.model_validate({"history": setting})
    async with party(monkeypatch, tags=("ben_x",), settings=settings) as it:
        await it.say(0, "ana", "before")
        await it.groups[0].add(it.room, "ana", ["cleo_x"])
        (listed,), _ = await RoomList(it.it.store, it.pods[0].directory).page("cleo", limit=5)
        assert listed.unread("cleo") == 0
        assert (listed.preview is not None) is (setting == "all")
        await it.say(0, "ana", "after")
        page = await History(it.it.store, it.pods[0].directory).before(it.room, "cleo", None, 10)
        replayed = await it.joined(0, "cleo")
        # What refers to an earlier message reveals it.
        await it.pods[0].messages.edit(it.room, "ana", 3, draft("edit"))
        refs = [one.get("mobile_ref_id") for one in replayed.events() if one["kind"] != "members"]
        expected = ["before", "after"] if setting == "all" else ["after"]
        assert [message.client_id for message in page.messages] == expected
        assert [ref for ref in refs if ref in {"before", "after"}] == expected
        assert ("edit" in refs) is (setting == "all")


async def test_a_deleted_owner_is_followed_by_the_oldest_admin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party(monkeypatch) as it:
        await it.groups[0].set_role(it.room, "ana", "cleo", Role.ADMIN)
        await it.pods[0].appending.depart(it.room, "ana")
        assert it.members() == {"ben": Role.MEMBER, "cleo": Role.OWNER}
        last = it.it.store.events[it.room][-1]
        assert isinstance(last, Members)
        changes = last.payload()["changes"]
        assert {"user_id": placeholder("ana"), "role": None} in changes


async def test_in_protocol_1_a_group_is_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    async with party(monkeypatch) as it:
        old = await it.joined(1, "ben", protocol=1)
        await it.groups[0].change(it.room, "ana", Appearance("Garden"))
        await eventually(lambda: old.events("receiver_info"))
        (info,) = old.events("receiver_info")
        assert (info["nickname"], info["tag_user_id"]) == ("Garden", "")


async def test_who_comes_and_goes_in_a_group_is_reported_with_the_user_in_protocol_2_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party(monkeypatch) as it:
        two, one, own = [
            await it.joined(0, user, protocol)
            for user, protocol in (("ana", 2), ("ana", 1), ("ben", 2))
        ]
        it.pods[0].live.report_availability(it.room, Availability("ben", online=True))
        it.pods[0].live.report_availability(it.room, Availability("ben", online=False))
        assert two.events("receiver_online") == [
            {"user_id": "ben", "status": "online"},
            {"user_id": "ben", "status": "offline", "last_seen_at": None},
        ]
        assert one.events("receiver_online") == own.events("receiver_online") == []
        monkeypatch.setattr(ports_module, "AVAILABILITY_MAX_MEMBERS", 2)
        it.pods[0].live.report_availability(it.room, Availability("ben", online=True))
        assert len(two.events("receiver_online")) == 2
