"""What was received is confirmed by the pong that follows it, and by nothing else."""

from ashchat_chat.wire.receipts import Receipts


def test_a_pong_confirms_what_was_sent_before_its_ping_only() -> None:
    pings: list[bytes] = []
    received: list[str] = []
    receipts = Receipts(pings.append)
    receipts.when_received(lambda: received.append("a"))
    receipts.when_received(lambda: received.append("b"))
    receipts.when_received(lambda: received.append("c"))
    assert (len(pings), received) == (1, [])
    receipts.pong(pings[0])
    assert (len(pings), received) == (2, ["a"])
    receipts.pong(pings[1])
    assert (len(pings), received) == (2, ["a", "b", "c"])


def test_other_pongs_confirm_nothing() -> None:
    pings: list[bytes] = []
    received: list[str] = []
    receipts = Receipts(pings.append)
    receipts.pong(b"1")
    receipts.when_received(lambda: received.append("a"))
    # Unsolicited, as a client may send them for its own keep-alive.
    for data in (b"", b"2", b"keep-alive"):
        receipts.pong(data)
    assert received == []
    receipts.pong(pings[0])
    receipts.pong(pings[0])
    assert received == ["a"]
