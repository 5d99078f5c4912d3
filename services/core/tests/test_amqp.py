"""What becomes of a delivery, decided by what its handler does. No broker is needed to decide."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ashchat_core import amqp
from ashchat_core.amqp import (
    Broker,
    BrokerUnavailable,
    Delivery,
    DependencyDown,
    Reject,
    Retry,
    backoff,
)
from ashchat_core.credentials import Credentials
from ashchat_core.messages import AccountConfirmed

BODY = AccountConfirmed(user_id="u", tag_user_id="t").model_dump_json().encode()


class Incoming:
    """An incoming message that notes what was said about it."""

    def __init__(self, body: bytes = BODY, attempts: int = 0) -> None:
        self.body = body
        self.message_id = "m"
        self.correlation_id = "c"
        self.reply_to = "r"
        self.redelivered = False
        self.content_type = "application/json"
        self.headers: dict[str, Any] = {amqp.ATTEMPTS_HEADER: attempts} if attempts else {}
        self.said: list[str] = []

    async def ack(self) -> None:
        self.said.append("ack")

    async def reject(self, *, requeue: bool) -> None:
        self.said.append("requeue" if requeue else "dead letter")


class Script:
    """A handler that goes through a list of outcomes."""

    def __init__(self, *steps: Exception | None) -> None:
        self.steps = list(steps)
        self.seen: list[Delivery[AccountConfirmed]] = []

    async def __call__(self, delivery: Delivery[AccountConfirmed]) -> None:
        self.seen.append(delivery)
        step = self.steps.pop(0) if self.steps else None
        if step is not None:
            raise step


Run = Callable[..., Any]


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(amqp, "backoff", lambda _: 0.0)
    return Broker(Credentials(tmp_path), "test", own_exchange="email")


async def deliver(
    broker: Broker, script: Script, message: Incoming, *, ended: bool = False
) -> Incoming:
    event = asyncio.Event()
    if ended:
        event.set()
    consumer = amqp._Consumer("Q", AccountConfirmed, script, 1)
    await broker._handle(consumer, message, event, None)  # type: ignore[arg-type]
    return message


async def test_a_handler_that_returns_acknowledges(broker: Broker) -> None:
    script = Script()
    assert (await deliver(broker, script, Incoming())).said == ["ack"]
    (seen,) = script.seen
    assert (seen.body.user_id, seen.correlation_id, seen.reply_to) == ("u", "c", "r")


async def test_a_rejected_message_is_a_dead_letter(broker: Broker) -> None:
    assert (await deliver(broker, Script(Reject("no")), Incoming())).said == ["dead letter"]


@pytest.mark.parametrize("body", [b"{", b'{"v": 2}', BODY.replace(b'"v":1', b'"v":9')])
async def test_what_is_not_understood_is_a_dead_letter(broker: Broker, body: bytes) -> None:
    script = Script()
    assert (await deliver(broker, script, Incoming(body))).said == ["dead letter"]
    assert not script.seen


async def test_a_message_is_held_while_a_dependency_is_down(broker: Broker) -> None:
    away: list[Exception | None] = [DependencyDown("Redis"), BrokerUnavailable("x")] * 20
    script = Script(*away)
    assert (await deliver(broker, script, Incoming())).said == ["ack"]
    assert len(script.seen) == 41


async def test_a_held_message_is_let_go_when_its_channel_is_gone(broker: Broker) -> None:
    script = Script(DependencyDown("Redis"))
    assert (await deliver(broker, script, Incoming(), ended=True)).said == []
    assert len(script.seen) == 1


async def test_a_defect_is_tried_five_times_and_then_counts(broker: Broker) -> None:
    script = Script(*[RuntimeError("bug")] * 10)
    assert (await deliver(broker, script, Incoming())).said == ["requeue"]
    assert len(script.seen) == amqp.UNKNOWN_ERROR_LIMIT


async def test_a_retry_is_parked_before_the_original_goes(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = Incoming(attempts=3)
    parked: list[tuple[str, str, Any]] = []

    async def publish(exchange: str, routing_key: str, copy: Any) -> None:
        assert not message.said
        parked.append((exchange, routing_key, copy))

    monkeypatch.setattr(broker, "_publish", publish)
    assert (await deliver(broker, Script(Retry("greylisted")), message)).said == ["ack"]
    ((exchange, routing_key, copy),) = parked
    assert (exchange, routing_key, copy.body, copy.message_id) == ("email", "Q", BODY, "m")
    assert copy.headers[amqp.ATTEMPTS_HEADER] == 4


async def test_a_retry_that_cannot_be_parked_is_requeued(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish(*_: object) -> None:
        raise BrokerUnavailable("x")

    monkeypatch.setattr(broker, "_publish", publish)
    assert (await deliver(broker, Script(Retry("later")), Incoming())).said == ["requeue"]


async def test_retries_end_as_a_dead_letter(broker: Broker) -> None:
    message = Incoming(attempts=amqp.RETRY_LIMIT)
    assert (await deliver(broker, Script(Retry("later")), message)).said == ["dead letter"]


async def test_a_redelivery_waits_for_what_was_begun(broker: Broker) -> None:
    order: list[str] = []
    go = asyncio.Event()

    async def slow(_: Delivery[AccountConfirmed]) -> None:
        order.append("begin")
        await go.wait()
        order.append("end")

    consumer = amqp._Consumer("Q", AccountConfirmed, slow, 1)
    first = asyncio.create_task(
        broker._handle(consumer, Incoming(), asyncio.Event(), None)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    second = asyncio.create_task(
        broker._handle(consumer, Incoming(), asyncio.Event(), first)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, second)
    assert order == ["begin", "end", "begin", "end"]


def test_backoff_grows_to_its_ceiling_and_is_never_zero() -> None:
    assert all(0.1 <= backoff(0) <= 0.2 for _ in range(100))
    assert all(2.5 <= backoff(1000) <= 5.0 for _ in range(100))


async def test_publishing_without_a_session_says_so(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp, "PUBLISH_TIMEOUT_SECONDS", 0.001)
    with pytest.raises(BrokerUnavailable):
        await broker.publish(
            "auth", "Q", AccountConfirmed(user_id="u", tag_user_id="t"), message_id="m"
        )
