"""Who is online, and who was last seen when, from sockets to the HTTP API."""

import asyncio
from typing import Any

from ashchat_dev.client import Person
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory


async def last_seen(person: Person, chat_id: str) -> Any:
    """Return when the other member of a chat was last seen, as the HTTP API reports it."""
    reply = await person.chat.get("/chats")
    assert reply.status == 200, reply.body
    (chat,) = [one for one in reply.body["chats"] if one["id"] == chat_id]
    return chat["receiver"]["last_seen_at"]


async def test_coming_is_shown_and_the_time_at_which_a_user_became_invisible_is_stored(
    person: PersonFactory,
) -> None:
    ana, ben = await asyncio.gather(person("Ana", "es"), person("Ben", "en"))
    chat_id = await ana.open_chat(await ben.tag())
    group = await ana.found_group("Kitchen", [await ben.tag()])
    watching, in_group = await ana.join_chat(chat_id), await ana.join_chat(group)
    first = await watching.wait("receiver_online")
    assert (first.payload["status"], first.payload["last_seen_at"]) == ("offline", None)
    lobby = await (await ben.socket()).join("presence:lobby")
    await watching.wait("receiver_online", lambda told: told["status"] == "online")
    online = await in_group.wait("receiver_online")
    assert online.payload == {"user_id": ben.user_id, "status": "online"}
    before = len(watching.events)
    assert (await lobby.push("visibility", {"visible": False})).status == "ok"
    left = await watching.wait("receiver_online", after=before)
    assert left.payload["status"] == "offline"
    at = left.payload["last_seen_at"]
    assert at.endswith(":00.000Z")

    async def stored() -> bool:
        return bool(await last_seen(ana, chat_id) == at)

    await until(stored, within=15, what="the time to be stored")
    members = (await ana.chat.get(f"/rooms/{chat_id}")).body["members"]
    (his,) = [one for one in members if one["user_id"] == ben.user_id]
    assert his["last_seen_at"] == at
