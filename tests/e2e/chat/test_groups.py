"""Groups, and messages that change, from the requests to the frames on other pods' sockets."""

import asyncio
import time
import uuid
from typing import Any

import pytest
import pytest_asyncio

from ashchat_dev.client import Person
from ashchat_dev.phoenix import Channel, JoinRefusedError
from ashchat_e2e.people import PersonFactory

Group = tuple[str, Person, Person, Person]
REMOVED_WITHIN_S = 5.0


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"content": content, "mobile_ref_id": str(uuid.uuid4()), **more}


async def say(channel: Channel, content: str, **more: Any) -> dict[str, Any]:
    reply = await channel.push("send_message", text(content, **more))
    assert reply.status == "ok", reply
    return reply.response


async def event(channel: Channel, kind: str, within: float = 10) -> dict[str, Any]:
    """Wait for the next event of a kind."""
    found = await channel.wait("event", lambda payload: payload["kind"] == kind, within=within)
    return dict(found.payload)


async def message(channel: Channel, n: int) -> dict[str, Any]:
    """Wait for the message with a number."""
    found = await channel.wait("event", lambda payload: payload.get("n") == n)
    return dict(found.payload)


async def room_of(person: Person, room: str) -> dict[str, Any]:
    """Return a room as it is in a user's list."""
    reply = await person.chat.get("/rooms")
    assert reply.status == 200, reply.body
    (found,) = [one for one in reply.body["rooms"] if one["id"] == room]
    return dict(found)


@pytest_asyncio.fixture(loop_scope="session")
async def group(person: PersonFactory) -> Group:
    """Create a group of Ana's with Ben and Cleo."""
    ana, ben, cleo = await asyncio.gather(
        person("Ana", "es"), person("Ben", "en"), person("Cleo", "it")
    )
    tags = [await ben.tag(), await cleo.tag()]
    body = {"client_id": str(uuid.uuid4()), "name": "Kitchen", "members": tags}
    reply = await ana.chat.post("/groups", json=body)
    assert reply.status == 201, reply.body
    again = await ana.chat.post("/groups", json=body)
    assert again.body["id"] == reply.body["id"]
    return str(reply.body["id"]), ana, ben, cleo


async def test_a_message_reaches_all_members_and_is_translated_once_per_language(
    group: Group,
) -> None:
    room, ana, ben, cleo = group
    hers, his, cleos = await asyncio.gather(*(one.join_chat(room) for one in (ana, ben, cleo)))
    sent = await say(hers, "La casa es grande.")
    for channel in (his, cleos):
        assert (await event(channel, "message"))["n"] == sent["n"] == 1
        assert (await event(channel, "translation", within=60))["message_rev"] == sent["rev"]
    listed = await room_of(ben, room)
    assert (listed["kind"], listed["name"], listed["members_count"]) == ("group", "Kitchen", 3)
    assert (listed["unread_count"], listed["preview"]["content"]) == (1, "La casa es grande.")
    assert (await his.push("ack", {"n": 1})).response == {"n": 1, "delivered": 0}
    await hers.wait("receipt", lambda one: one["user_id"] == ben.user_id and one["read"] == 1)
    assert (await room_of(ben, room))["unread_count"] == 0


async def test_a_removed_member_sees_nothing_on_any_pod(group: Group) -> None:
    room, ana, ben, cleo = group
    hers = await ana.join_chat(room)
    sockets = [await cleo.join_chat(room) for _ in range(4)]
    old = await cleo.join_chat(room, protocol=1)
    refused = await ben.chat.request("DELETE", f"/rooms/{room}/members/{cleo.user_id}")
    assert (refused.status, refused.body["reason"]) == (403, "not_allowed")
    removed = await ana.chat.request("DELETE", f"/rooms/{room}/members/{cleo.user_id}")
    assert removed.status == 204
    deadline = time.monotonic() + REMOVED_WITHIN_S
    for channel in sockets:
        await event(channel, "members", within=max(0.1, deadline - time.monotonic()))
    await say(hers, "without Cleo")
    his = await ben.join_chat(room)
    await message(hers, (await say(his, "without her"))["n"])
    for channel in (*sockets, old):
        assert channel.named("receive_message") == []
        assert [one for one in channel.named("event") if one["kind"] == "message"] == []
    with pytest.raises(JoinRefusedError):
        await cleo.join_chat(room)
    assert (await cleo.chat.get(f"/chats/{room}/messages")).status == 404
    assert (await cleo.chat.get("/rooms")).body["rooms"] == []


async def test_messages_are_edited_deleted_answered_and_mention_members(group: Group) -> None:
    room, ana, ben, cleo = group
    hers, his = await ana.join_chat(room), await ben.join_chat(room)
    sent = await say(hers, f"Hola @{await ben.tag()}")
    assert (await event(his, "message"))["mentions"] == [ben.user_id]
    assert (await room_of(ben, room))["mention_count"] == 1
    about = {"message_id": sent["message_id"]}
    adios = f"Adiós @{await cleo.tag()}"
    assert (await hers.push("edit_message", text(adios, **about))).status == "ok"
    edit = await event(his, "edit")
    assert (edit["content"], edit["mentions"]) == (adios, [cleo.user_id])
    assert [(await room_of(one, room))["mention_count"] for one in (ben, cleo)] == [0, 1]
    answer = await say(his, "Hi", reply_to=sent["message_id"])
    assert (await message(hers, answer["n"]))["reply_to"] == sent["message_id"]
    assert (await his.push("react", {**about, "emoji": "\u2764\ufe0f"})).status == "ok"
    assert (await event(hers, "reaction"))["by"] == ben.user_id
    refused = await his.push("delete_message", about)
    assert refused.response["reason"] == "not_allowed"
    assert (await hers.push("delete_message", about)).status == "ok"
    await event(his, "delete")
    everybody = await his.push("send_message", text("@all come"))
    assert everybody.response["reason"] == "mention_all_not_allowed"
    page = (await ben.chat.get(f"/chats/{room}/messages", params={"around": answer["n"]})).body
    first, second = page["messages"]
    assert (first["deleted"], first["content"]) == (True, "")
    assert (second["content"], second["reply_to"]) == ("Hi", sent["message_id"])


async def test_the_original_s_clients_see_a_chat_with_the_group(group: Group) -> None:
    room, ana, ben, _ = group
    his = await ben.join_chat(room, protocol=1)
    info = await his.wait("receiver_info", lambda one: one["nickname"] == "Kitchen")
    assert info.payload["tag_user_id"] == ""
    reply = await ana.chat.patch(f"/rooms/{room}", json={"name": "Garden"})
    assert reply.body["name"] == "Garden"
    await his.wait("receiver_info", lambda one: one["nickname"] == "Garden")
    (chat,) = (await ben.chat.get("/chats")).body["chats"]
    assert (chat["id"], chat["receiver"]["nickname"]) == (room, "Garden")


async def test_roles_and_limits_have_their_own_reasons(group: Group) -> None:
    room, ana, ben, cleo = group
    leave = await ana.chat.request("DELETE", f"/rooms/{room}/members/{ana.user_id}")
    assert (leave.status, leave.body["reason"]) == (409, "owner_must_transfer")
    unknown = await ana.chat.post(f"/rooms/{room}/members", json={"members": ["nobody_x"]})
    assert (unknown.status, unknown.body["reason"]) == (404, "no_such_user")
    path = f"/rooms/{room}/members/{ben.user_id}"
    assert (await cleo.chat.patch(path, json={"role": "owner"})).body["reason"] == "not_allowed"
    owned = await ana.chat.patch(path, json={"role": "owner"})
    assert {one["user_id"]: one["role"] for one in owned.body["members"]} == {
        ana.user_id: "admin", ben.user_id: "owner", cleo.user_id: "member",
    }  # fmt: skip
    left = await ana.chat.request("DELETE", f"/rooms/{room}/members/{ana.user_id}")
    assert left.status == 204
    direct = await ana.open_chat(await ben.tag())
    renamed = await ana.chat.patch(f"/rooms/{direct}", json={"name": "Mine"})
    assert (renamed.status, renamed.body["reason"]) == (409, "not_a_group")
