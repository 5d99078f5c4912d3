import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as WebSocketFrame
from websockets.streams import StreamReader

from ashchat_chat.rooms.ports import Push
from ashchat_chat.wire import phoenix
from ashchat_chat.wire.phoenix import Frame, MalformedFrameError, Reference
from ashchat_chat.wire.text_frames import text_frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
REFS = st.none() | st.text(max_size=64) | st.integers(-phoenix.REF_MAX, phoenix.REF_MAX)


def text_of(frame: bytes) -> str:
    """Return the text of a server's frame, read by the library."""
    stream = StreamReader()
    stream.feed_data(frame)
    parsing = WebSocketFrame.parse(stream.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    return bytes(done.value.value.data).decode()


@given(REFS, REFS, st.text(max_size=256), st.text(max_size=256), st.dictionaries(st.text(), JSON))
def test_what_is_encoded_is_decoded(
    join_ref: Reference, ref: Reference, topic: str, event: str, payload: dict[str, object]
) -> None:
    text = text_of(phoenix.encode(join_ref, ref, topic, event, payload))
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
        '["1",2.0,"t","e",{}]',
        '["1",true,"t","e",{}]',
        '["1",["2"],"t","e",{}]',
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
    frame = phoenix.frame_of(push)
    assert json.loads(text_of(frame)) == [None, None, "chat:1", "typing", {"é": 1}]
    assert phoenix.frame_of(push) is frame


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536, 200_000])
def test_a_frame_of_any_length_is_read_by_another_implementation(length: int) -> None:
    assert text_of(text_frame(b"x" * length)) == "x" * length


@pytest.mark.parametrize("payload", ["null", "[]", "9", '"x"', "true"])
def test_a_payload_that_is_no_object_is_a_frame_without_a_payload(payload: str) -> None:
    frame = phoenix.decode(f'["9",10,"t","phx_join",{payload}]')
    assert frame == Frame("9", 10, "t", "phx_join", None)


def test_a_binary_push_is_named_without_its_payload() -> None:
    head = bytes((0, 1, 2, 6, 3))
    frame = phoenix.decode_binary(head + b"1" + b"12" + b"chat:1" + b"pic" + b"\x89PNG")
    assert frame == Frame("1", "12", "chat:1", "pic", None)
    for data in (b"", b"x", bytes((1, 0, 0, 0, 0)), bytes((0, 1, 0, 0, 0)) + b"\xff"):
        with pytest.raises(MalformedFrameError):
            phoenix.decode_binary(data)


def test_a_reply_has_the_references_of_what_it_answers() -> None:
    frame = Frame("1", "7", "chat:1", "send_message", {})
    assert json.loads(text_of(phoenix.reply(frame, "ok", {"rev": 3}))) == [
        "1", "7", "chat:1", "phx_reply", {"status": "ok", "response": {"rev": 3}},
    ]  # fmt: skip


def test_a_reply_to_a_frame_without_a_join_reference_has_the_joins() -> None:
    frame = Frame(None, 7, "chat:1", "send_message", {})
    assert json.loads(text_of(phoenix.reply(frame, "ok", {}, join_ref=3)))[:2] == [3, 7]
