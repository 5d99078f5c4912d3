"""Messages that are edited, deleted for all, answered, mentioning, and translated again."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta

import pytest

from ashchat_chat.rooms import appending as appending_module
from ashchat_chat.rooms import messages as messages_module
from ashchat_chat.rooms.charging import EVENT_CHARS
from ashchat_chat.rooms.errors import NoSuchRoomError, Reason, RefusedError
from ashchat_chat.rooms.events import ALL_MEMBERS, Edited, Sent
from ashchat_chat.rooms.groups import Appearance
from ashchat_chat.rooms.history import History
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.rooms.views import MessageView, Settings
from chat_groups import party
from chat_world import (
    ROOM,
    MemoryStore,
    Reader,
    World,
    draft,
    enter,
    eventually,
    result,
    say,
    world,
)


async def read(it: World, pod: int = 0) -> list[MessageView]:
    page = await History(it.store, it.pods[pod].directory).before(ROOM, "ben", None, 50)
    return page.messages


async def translate(it: World, of: Sent, text: str | None, version: int = 1) -> bool:
    return await it.pods[0].appending.translated(
        result(
            message=of.message_id, text_version=version, target="en",
            outcome="failed" if text is None else "translated", text=text,
            provider="p", reason="x" if text is None else None,
        )
    )  # fmt: skip


def edits(store: MemoryStore, room: str) -> list[Edited]:
    return [event for event in store.events[room] if isinstance(event, Edited)]


async def refusal(action: object) -> Reason:
    with pytest.raises(RefusedError) as refused:
        await action  # type: ignore[misc]
    return refused.value.reason


async def test_an_edit_is_translated_again_and_earlier_texts_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        reader = Reader("ben", "en")
        await enter(it.pods[1], reader)
        sent, _ = await say(it.pods[0], "ana", "1", "hola")
        await translate(it, sent, "hi")
        edited, fresh = await it.pods[0].messages.edit(ROOM, "ana", sent.rev, draft("2", "adiós"))
        assert fresh
        assert it.jobs == [sent, edited]
        (message,) = await read(it, 1)
        assert (message.text, message.translations, message.edited_at) == ("adiós", {}, edited.at)
        # The translation of the former text comes late.
        await it.pods[1].appending.translated(
            result(
                message=sent.message_id, text_version=1, target="de", outcome="translated",
                text="hallo", provider="p", reason=None,
            )
        )  # fmt: skip
        assert (await read(it))[0].translations == {}
        assert await translate(it, sent, "bye", edited.text_version)
        (message,) = await read(it)
        assert message.text_for("en") == "bye"
        texts = [event.text for event in it.store.events[ROOM] if isinstance(event, Sent | Edited)]
        assert texts == ["hola", "adiós"]
        again, fresh = await it.pods[1].messages.edit(ROOM, "ana", sent.rev, draft("2", "x"))
        assert (again, fresh) == (edited, False)
        await eventually(lambda: len(reader.events()) == 4)
        assert [event["kind"] for event in reader.events()] == [
            "message", "translation", "edit", "translation",
        ]  # fmt: skip


async def test_a_deletion_purges_texts_and_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, pods=2) as it:
        sent, _ = await say(it.pods[0], "ana", "1", "secret")
        await translate(it, sent, "secret in English")
        await it.pods[0].messages.edit(ROOM, "ana", sent.rev, draft("2", "secret again"))
        await it.pods[0].cache.flush([ROOM])
        assert "secret" in str(it.store.documents)
        for pod in it.pods:
            await pod.messages.delete(ROOM, "ana", sent.rev)
        assert "secret" not in str([it.store.events, it.store.documents])
        assert [event.kind for event in it.store.events[ROOM]].count("delete") == 1
        (message,) = await read(it, 1)
        assert (message.deleted, message.text, message.n) == (True, "", 1)
        for pod in it.pods:
            resumed = Reader("ben", "en")
            await enter(pod, resumed, since=1)
            assert len(resumed.events()) == 4
            assert "secret" not in str(resumed.events())
        # It still counts as unread, and what comes late is not stored.
        assert not await translate(it, sent, "secret late")
        assert await refusal(it.pods[1].messages.edit(ROOM, "ana", sent.rev, draft("3"))) is (
            Reason.MESSAGE_DELETED
        )
        for pod in it.pods:
            await pod.cache.flush([ROOM])
        assert "secret" not in str([it.store.events, it.store.documents])


async def test_a_deletion_that_was_interrupted_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        sent, _ = await say(it.pods[0], "ana", "1", "secret")
        it.store.fails = lambda name: name == "purge"
        with pytest.raises(Exception, match="purge"):
            await it.pods[0].messages.delete(ROOM, "ana", sent.rev)
        it.store.fails = lambda _: False
        assert "secret" in str(it.store.events)
        later = datetime.now(UTC) + timedelta(minutes=1)
        await it.pods[0].purging.sweep(later)
        assert "secret" not in str(it.store.events)
        assert await it.store.unpurged(later, 10) == []


@pytest.mark.parametrize("steps", range(6))
async def test_what_is_edited_while_it_is_deleted_is_purged_or_refused(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    async with world(monkeypatch, pods=2) as it:
        sent, _ = await say(it.pods[0], "ana", "1", "secret")

        async def edit() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            await it.pods[1].messages.edit(ROOM, "ana", sent.rev, draft("2", "secret again"))

        await asyncio.gather(
            it.pods[0].messages.delete(ROOM, "ana", sent.rev), edit(), return_exceptions=True
        )
        assert "secret" not in str(it.store.events)
        assert (await read(it))[0].deleted


async def test_who_may_change_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch) as it:
        sent, _ = await say(it.pods[0], "ana", "1")
        messages = it.pods[0].messages
        assert await refusal(messages.edit(ROOM, "ben", 2, draft("2"))) is Reason.NOT_ALLOWED
        assert await refusal(messages.delete(ROOM, "ben", 2)) is Reason.NOT_ALLOWED
        for rev in (1, 99):
            assert await refusal(messages.delete(ROOM, "ana", rev)) is Reason.NO_SUCH_MESSAGE
            reply = messages.send(ROOM, "ben", draft("1", reply_to=rev))
            assert await refusal(reply) is Reason.NO_SUCH_MESSAGE
        monkeypatch.setattr(messages_module, "EDITS_MAX", 1)
        await messages.edit(ROOM, "ana", sent.rev, draft("3"))
        assert await refusal(messages.edit(ROOM, "ana", 2, draft("4"))) is Reason.TOO_MANY_EDITS
    async with party(monkeypatch) as group:
        await group.say(0, "ben", "1")
        await group.pods[1].messages.delete(group.room, "ana", 3)
        page = await History(group.it.store, group.pods[0].directory).before(
            group.room, "cleo", None, 5
        )
        assert page.messages[0].deleted


async def test_a_translation_that_failed_can_be_requested_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        sent, _ = await say(it.pods[0], "ana", "1")
        again = it.pods[0].messages.translate_again
        assert await refusal(again(ROOM, "ben", 2, "en")) is Reason.NOTHING_FAILED
        assert await translate(it, sent, None)
        assert not await translate(it, sent, None)
        await again(ROOM, "ben", sent.rev, "en-GB")
        assert it.jobs[-1].targets == ("en",)
        assert await translate(it, sent, "hi")
        assert not await translate(it, sent, "hi")
        assert (await read(it))[0].text_for("en") == "hi"


@pytest.mark.parametrize(
    ("text", "user", "mentioned"),
    [
        ("hola", "ana", ()),
        ("@ben_x, hola @ben_x", "ana", ("ben",)),
        ("@cleo_x @ben_x @ana_x @eve_x", "ana", ("cleo", "ben")),
        ("mail@ben_x.test @@ben_x", "ana", ()),
        ("(@ben_x)", "cleo", ("ben",)),
        ("@all", "ana", (ALL_MEMBERS,)),
    ],
)
async def test_mentions(
    monkeypatch: pytest.MonkeyPatch, text: str, user: str, mentioned: tuple[str, ...]
) -> None:
    async with party(monkeypatch) as it:
        assert await it.pods[0].messages.mentions(it.room, user, text) == mentioned


async def test_mentions_of_all_need_the_permission_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with party(monkeypatch) as it:
        messages = it.pods[0].messages
        everybody = messages.send(it.room, "ben", draft("1", "@all"))
        assert await refusal(everybody) is Reason.MENTION_ALL_NOT_ALLOWED
        many = " ".join(f"@u{number}" for number in range(51))
        assert await refusal(messages.mentions(it.room, "ana", many)) is Reason.TOO_MANY_MENTIONS
        await it.pods[0].appending.send(it.room, "ana", draft("1", mentions=(ALL_MEMBERS,)))
        await it.pods[0].appending.send(it.room, "ana", draft("2", mentions=("ben",)))
        counted = [
            await it.it.store.mentions(user, {it.room: 0}) for user in ("ana", "ben", "cleo")
        ]
        assert counted == [{}, {it.room: 2}, {it.room: 1}]
    async with party(monkeypatch, settings=Settings(mention_all="members")) as it:
        sent, _ = await it.pods[0].messages.send(it.room, "ben", draft("1", "@all"))
        assert sent.mentions == (ALL_MEMBERS,)
        # Another pod commits a change of the setting that this one has not heard of.
        look = Appearance(settings=Settings(mention_all="admins"))
        await it.groups[1].change(it.room, "ana", look)
        everybody = it.pods[0].messages.send(it.room, "ben", draft("2", "@all"))
        assert await refusal(everybody) is Reason.MENTION_ALL_NOT_ALLOWED


async def test_an_edit_changes_the_mentions(monkeypatch: pytest.MonkeyPatch) -> None:
    async with party(monkeypatch) as it:
        store, (pod, other) = it.it.store, it.pods
        reader = await it.joined(1, "cleo")
        sent, _ = await pod.messages.send(it.room, "ana", draft("1", "hi @ben_x"))

        async def edited(ref: str, text: str) -> list[int]:
            await other.messages.edit(it.room, "ana", sent.rev, draft(ref, text))
            page = await History(store, pod.directory).before(it.room, "ben", None, 50)
            folded = page.messages[0].mentions
            await eventually(lambda: reader.events()[-1].get("mobile_ref_id") == ref)
            assert tuple(reader.events()[-1].get("mentions", ())) == folded
            users = ("ana", "ben", "cleo")
            return [(await store.mentions(user, {it.room: 0})).get(it.room, 0) for user in users]

        assert await edited("2", "hi @cleo_x") == [0, 0, 1]
        assert await edited("3", "hi") == [0, 0, 0]
        assert await edited("4", "@all @ben_x") == [0, 1, 1]
        assert await edited("5", "@ben_x") == [0, 1, 0]
        await pod.messages.delete(it.room, "ana", sent.rev)
        assert await store.mentions("ben", {it.room: 0}) == {}
        named = [(*one.mentions, *one.no_longer_mentioned) for one in edits(store, it.room)]
        assert named == [()] * 4


async def test_the_limits_of_mentions_apply_to_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with party(monkeypatch, settings=Settings(mention_all="members")) as it:
        messages = it.pods[0].messages
        sent, _ = await messages.send(it.room, "ben", draft("1"))
        many = " ".join(f"@u{number}" for number in range(51))
        too_many = messages.edit(it.room, "ben", sent.rev, draft("2", many))
        assert await refusal(too_many) is Reason.TOO_MANY_MENTIONS
        first, _ = await messages.edit(it.room, "ben", sent.rev, draft("3", "@all"))
        look = Appearance(settings=Settings(mention_all="admins"))
        await it.groups[1].change(it.room, "ana", look)
        edit = messages.edit(it.room, "ben", sent.rev, draft("4", "@all again"))
        assert await refusal(edit) is Reason.MENTION_ALL_NOT_ALLOWED
        # A repetition is answered as the first time, although it would be refused now.
        again = await it.pods[1].messages.edit(it.room, "ben", sent.rev, draft("3", "@all"))
        assert again == (first, False)


async def test_reactions_are_put_and_taken_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(monkeypatch, pods=2) as it:
        sent, _ = await say(it.pods[0], "ana", "1")
        for number, on in enumerate((True, True, False, False, True)):
            react = it.pods[number % 2].messages.react
            await react(ROOM, "ben", sent.rev, "\U0001f600", on=on)
        await it.pods[0].messages.react(ROOM, "ana", sent.rev, "\U0001f600", on=True)
        (message,) = await read(it)
        assert message.reactions == {"\U0001f600": ("ben", "ana")}
        assert [event.kind for event in it.store.events[ROOM]].count("reaction") == 4


async def test_reactions_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages_module, "EMOJI_MAX", 2)
    monkeypatch.setattr(messages_module, "REACTION_CHANGES_MAX", 5)
    async with world(monkeypatch) as it:
        await say(it.pods[0], "ana", "1")
        react = it.pods[0].messages.react
        for emoji in "ab":
            await react(ROOM, "ana", 2, emoji, on=True)
        many = Reason.TOO_MANY_REACTIONS
        assert await refusal(react(ROOM, "ben", 2, "c", on=True)) is many
        for on in (True, False, True, False, True):
            await react(ROOM, "ben", 2, "a", on=on)
        assert await refusal(react(ROOM, "ben", 2, "a", on=False)) is many
        await it.pods[0].messages.delete(ROOM, "ana", 2)
        assert await refusal(react(ROOM, "ben", 2, "a", on=True)) is Reason.MESSAGE_DELETED
        assert (await read(it))[0].reactions == {}


@pytest.mark.parametrize("pods", [1, 2])
@pytest.mark.parametrize("on", [True, False])
async def test_reactions_sent_again_before_the_answer_are_put_once(
    monkeypatch: pytest.MonkeyPatch, pods: int, *, on: bool
) -> None:
    async with world(monkeypatch, pods=pods) as it:
        sent, _ = await say(it.pods[0], "ana", "1")
        if not on:
            await it.pods[0].messages.react(ROOM, "ben", sent.rev, "a", on=True)
        before = len(it.store.events[ROOM])
        reacting = [it.pods[number % pods].messages.react for number in range(6)]
        await asyncio.gather(*(react(ROOM, "ben", sent.rev, "a", on=on) for react in reacting))
        assert len(it.store.events[ROOM]) == before + 1


@pytest.mark.parametrize("pods", [1, 2])
async def test_limits_of_a_message_hold_for_concurrent_requests(
    monkeypatch: pytest.MonkeyPatch, pods: int
) -> None:
    monkeypatch.setattr(messages_module, "EMOJI_MAX", 3)
    monkeypatch.setattr(messages_module, "EDITS_MAX", 2)
    async with world(monkeypatch, pods=pods) as it:
        sent, _ = await say(it.pods[0], "ana", "1")
        many = [it.pods[number % pods].messages for number in range(8)]
        reacting = (
            messages.react(ROOM, "ben", sent.rev, chr(97 + number), on=True)
            for number, messages in enumerate(many)
        )
        editing = (
            messages.edit(ROOM, "ana", sent.rev, draft(f"edit {number}"))
            for number, messages in enumerate(many)
        )
        await asyncio.gather(*reacting, *editing, return_exceptions=True)
        kinds = [event.kind for event in it.store.events[ROOM]]
        assert (kinds.count("reaction"), kinds.count("edit")) == (3, 2)


async def test_what_was_committed_is_answered_again_though_it_would_be_refused_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(messages_module, "EDITS_MAX", 1)
    async with world(monkeypatch) as it:
        messages = it.pods[0].messages
        first, _ = await messages.send(ROOM, "ana", draft("1"))
        reply, _ = await messages.send(ROOM, "ben", draft("2", reply_to=first.rev))
        edited, _ = await messages.edit(ROOM, "ana", first.rev, draft("3"))
        assert await messages.edit(ROOM, "ana", first.rev, draft("3")) == (edited, False)
        await messages.delete(ROOM, "ana", first.rev)
        again, fresh = await messages.edit(ROOM, "ana", first.rev, draft("3"))
        assert (again.rev, fresh) == (edited.rev, False)
        assert await messages.send(ROOM, "ben", draft("2", reply_to=first.rev)) == (reply, False)
        # Neither a new request nor another one under the same id.
        deleted = Reason.MESSAGE_DELETED
        assert await refusal(messages.edit(ROOM, "ana", first.rev, draft("4"))) is deleted
        assert await refusal(messages.send(ROOM, "ben", draft("5", reply_to=first.rev))) is deleted
        assert await refusal(messages.edit(ROOM, "ben", first.rev, draft("2"))) is deleted
        await it.pods[0].appending.depart(ROOM, "ana")
        assert await messages.send(ROOM, "ben", draft("2", reply_to=first.rev)) == (reply, False)


# The quota of stored text


async def test_messages_and_edits_are_charged_to_their_author_once_they_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch, pods=2) as it:
        here, there = (pod.messages for pod in it.pods)
        text, edited = "a" * 1_000, "b" * 500
        sent, _ = await here.send(ROOM, "ana", draft("1", text))
        assert it.quota.stored == {"ana": 1_000 + EVENT_CHARS}
        await here.edit(ROOM, "ana", sent.rev, draft("2", edited))
        charged = 1_500 + 2 * EVENT_CHARS
        assert it.quota.stored == {"ana": charged}
        # Repetitions store nothing, and neither does what is refused.
        assert (await there.send(ROOM, "ana", draft("1", text)))[1] is False
        assert (await there.edit(ROOM, "ana", sent.rev, draft("2", edited)))[1] is False
        with pytest.raises(RefusedError):
            await there.edit(ROOM, "ben", sent.rev, draft("3", edited))
        with pytest.raises(NoSuchRoomError):
            await there.send(ROOM, "eve", draft("4"))
        assert {user: chars for user, chars in it.quota.stored.items() if chars} == {"ana": charged}


async def test_reactions_are_charged_to_who_reacts_once_they_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        messages = it.pods[0].messages
        sent, _ = await messages.send(ROOM, "ana", draft("1"))
        for on in (True, True, False, False):
            await messages.react(ROOM, "ben", sent.rev, "\N{THUMBS UP SIGN}", on=on)
        assert it.quota.stored["ben"] == 2 * EVENT_CHARS
        it.quota.limit = 0
        with pytest.raises(RefusedError) as error:
            await messages.react(ROOM, "ben", sent.rev, "\N{THUMBS UP SIGN}", on=True)
        assert error.value.reason is Reason.TEXT_QUOTA_EXCEEDED


async def test_what_may_be_stored_stays_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending_module, "APPEND_SECONDS", 0.0)
    async with world(monkeypatch) as it:
        it.store.fails = lambda name: name == "insert"
        with pytest.raises(StoreUnavailableError):
            await it.pods[0].messages.send(ROOM, "ana", draft("1", "hola"))
        assert it.quota.stored["ana"] == 4 + EVENT_CHARS


async def test_an_account_that_has_stored_too_much_is_refused_with_its_own_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        messages = it.pods[0].messages
        sent, _ = await messages.send(ROOM, "ana", draft("1"))
        it.quota.limit = it.quota.stored["ana"]
        for refused in (
            messages.send(ROOM, "ana", draft("2")),
            messages.edit(ROOM, "ana", sent.rev, draft("3", "adios")),
        ):
            with pytest.raises(RefusedError) as error:
                await refused
            assert error.value.reason is Reason.TEXT_QUOTA_EXCEEDED
            assert error.value.details == {"retry_after_ms": 7_000}
        # An answer that was lost is repeated, and others write.
        assert await messages.send(ROOM, "ana", draft("1")) == (sent, False)
        assert (await messages.send(ROOM, "ben", draft("4")))[1]


@pytest.mark.parametrize("pods", [1, 2])
async def test_a_late_repetition_of_a_reaction_changes_nothing_after_the_opposite(
    monkeypatch: pytest.MonkeyPatch, pods: int
) -> None:
    async with world(monkeypatch, pods=pods) as it:
        sent, _ = await say(it.pods[0], "ana", "1")
        changes = [("put", True), ("back", False), ("put", True), ("back", False), ("put", True)]
        for number, (client_id, on) in enumerate(changes):
            react = it.pods[number % pods].messages.react
            await react(ROOM, "ben", sent.rev, "a", on=on, client_id=client_id)
        assert (await read(it))[0].reactions == {}
        # Another user's id of the same name is another id.
        await it.pods[0].messages.react(ROOM, "ana", sent.rev, "a", on=True, client_id="put")
        assert (await read(it))[0].reactions == {"a": ("ana",)}


async def test_an_id_names_one_thing_that_a_user_did_in_a_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world(monkeypatch) as it:
        messages = it.pods[0].messages
        one, _ = await messages.send(ROOM, "ana", draft("one"))
        other, _ = await messages.send(ROOM, "ana", draft("other"))
        await messages.edit(ROOM, "ana", one.rev, draft("edit"))
        await messages.react(ROOM, "ana", one.rev, "a", on=True, client_id="reaction")
        before = list(it.store.events[ROOM])

        def react(rev: int, emoji: str, client_id: str) -> Awaitable[None]:
            return messages.react(ROOM, "ana", rev, emoji, on=True, client_id=client_id)

        for action in (
            messages.send(ROOM, "ana", draft("edit")),
            messages.send(ROOM, "ana", draft("reaction")),
            messages.edit(ROOM, "ana", one.rev, draft("one")),
            messages.edit(ROOM, "ana", other.rev, draft("edit")),
            messages.edit(ROOM, "ana", one.rev, draft("reaction")),
            react(one.rev, "b", "one"),
            react(one.rev, "b", "edit"),
            react(one.rev, "b", "reaction"),
            react(other.rev, "a", "reaction"),
        ):
            assert await refusal(action) is Reason.ID_TAKEN
        assert it.store.events[ROOM] == before
