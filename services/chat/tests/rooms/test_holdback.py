"""Protocol 1: each message once, in order, translated or after 5 s as it was."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ashchat_chat.rooms.events import Sent, Translated
from ashchat_chat.rooms.holdback import WAIT_SECONDS, Holdback

AT = datetime(2026, 1, 2, tzinfo=UTC)


def sent(rev: int, *, targets: tuple[str, ...] = ("en",)) -> Sent:
    return Sent(
        room="r", rev=rev, n=rev, at=AT, sender="ana", client_id=f"c{rev}", text=f"t{rev}",
        language="es", targets=targets,
    )  # fmt: skip


def translated(rev: int, of: int, *, target: str = "en", text: str | None = "x") -> Translated:
    return Translated(
        room="r", rev=rev, at=AT, client_id=f"{of}.{target}",
        about=of, text_version=1, target=target,
        outcome="failed" if text is None else "translated", text=text,
    )  # fmt: skip


def test_the_translation_is_what_is_shown() -> None:
    hold = Holdback("en")
    assert hold.take(sent(1), 10.0) == []
    assert hold.deadline == 10.0 + WAIT_SECONDS
    assert [one.text for one in hold.take(translated(2, 1, text="house"), 11.0)] == ["house"]
    assert hold.deadline is None


def test_after_five_seconds_the_original() -> None:
    hold = Holdback("en")
    hold.take(sent(1), 10.0)
    assert hold.expire(14.9) == []
    assert [one.text for one in hold.expire(15.0)] == ["t1"]
    assert hold.take(translated(2, 1), 15.1) == []


def test_a_translation_that_failed_is_not_waited_for() -> None:
    hold = Holdback("en")
    hold.take(sent(1), 10.0)
    assert [one.text for one in hold.take(translated(2, 1, text=None), 10.1)] == ["t1"]


def test_who_reads_the_writers_language_does_not_wait() -> None:
    assert [one.text for one in Holdback("es").take(sent(1), 0.0)] == ["t1"]
    # Nor who reads a language that nobody asked for.
    assert [one.text for one in Holdback("de").take(sent(1), 0.0)] == ["t1"]


def test_another_languages_translation_is_not_shown() -> None:
    hold = Holdback("en")
    hold.take(sent(1, targets=("de", "en")), 0.0)
    assert hold.take(translated(2, 1, target="de"), 1.0) == []


def test_messages_keep_their_order() -> None:
    hold = Holdback("en")
    hold.take(sent(1), 0.0)
    hold.take(sent(2), 1.0)
    assert hold.take(translated(3, 2, text="two"), 2.0) == []
    ready = hold.take(translated(4, 1, text="one"), 3.0)
    assert [one.text for one in ready] == ["one", "two"]


@given(st.data())
def test_every_message_exactly_once_in_order_and_in_time(data: st.DataObject) -> None:
    hold = Holdback("en")
    now = 0.0
    due: dict[int, float] = {}
    shown: list[int] = []
    for rev in range(1, data.draw(st.integers(2, 30))):
        now += data.draw(st.floats(0, 4))
        translate = data.draw(st.booleans())
        if due and translate:
            of = data.draw(st.sampled_from(sorted(due)))
            ready = hold.take(translated(rev, of), now)
        else:
            due[rev] = now + WAIT_SECONDS
            ready = hold.take(sent(rev), now)
        shown += [one.event.rev for one in ready]
        assert all(at > now for waits, at in due.items() if waits not in shown)
    shown += [one.event.rev for one in hold.expire(now + WAIT_SECONDS)]
    assert shown == sorted(due)
