import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashchat_chat.rooms.ports import Push
from ashchat_chat.wire import phoenix
from ashchat_chat.wire.phoenix import Frame, MalformedFrameError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
REFS = st.none() | st.text(max_size=64)


@given(REFS, REFS, st.text(max_size=256), st.text(max_size=256), st.dictionaries(st.text(), JSON))
def test_what_is_encoded_is_decoded(
    join_ref: str | None, ref: str | None, topic: str, event: str, payload: dict[str, object]
) -> None:
    text = phoenix.encode(join_ref, ref, topic, event, payload)
    assert phoenix.decode(text) == Frame(join_ref, ref, topic, event, payload)


@given(JSON)
def test_anything_else_is_malformed(value: object) -> None:
    with pytest.raises(MalformedFrameError):
        phoenix.decode(json.dumps(value))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        '["1","2","t","e"]',
        '["1","2","t","e",[]]',
        '["1",2,"t","e",{}]',
        '["1","2",null,"e",{}]',
        json.dumps(["1", "2", "t" * 257, "e", {}]),
        json.dumps(["1" * 65, "2", "t", "e", {}]),
        r'["1","\ud800","t","e",{}]',
        r'["1","2","\ud800","e",{}]',
        r'["\udfff","2","t","e",{}]',
        r'["1","2","t","e\udc00\ud800",{}]',
        '["1","2","t","e",{"rev":NaN}]',
    ],
)
def test_malformed_texts_are_reported(text: str) -> None:
    with pytest.raises(MalformedFrameError):
        phoenix.decode(text)


def test_a_push_for_everybody_has_no_reference() -> None:
    push = Push("chat:1", "typing", {"é": 1})
    text = phoenix.text_of(push)
    assert json.loads(text) == [None, None, "chat:1", "typing", {"é": 1}]
    assert phoenix.text_of(push) is text


def test_a_reply_has_the_references_of_what_it_answers() -> None:
    frame = Frame("1", "7", "chat:1", "send_message", {})
    assert json.loads(phoenix.reply(frame, "ok", {"rev": 3})) == [
        "1", "7", "chat:1", "phx_reply", {"status": "ok", "response": {"rev": 3}},
    ]  # fmt: skip
