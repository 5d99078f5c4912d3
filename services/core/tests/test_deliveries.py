"""What happens to a delivery, decided by its handler. No broker is needed to decide."""

import asyncio
from typing import Any

import pytest

from ashchat_core import deliveries
from ashchat_core.deliveries import Consumer, Deliveries, Delivery
from ashchat_core.errors import BrokerUnavailableError, DependencyDownError, RejectError, RetryError
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
        self.headers: dict[str, Any] = {deliveries.ATTEMPTS_HEADER: attempts} if attempts else {}
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


async def unpublishable(*_: object) -> None:
    raise BrokerUnavailableError("x")


@pytest.fixture
def handling(monkeypatch: pytest.MonkeyPatch) -> Deliveries:
    monkeypatch.setattr(deliveries, "backoff", lambda _: 0.0)
    return Deliveries(unpublishable, "email")


async def deliver(
    handling: Deliveries, script: Script, message: Incoming, *, ended: bool = False
) -> Incoming:
    event = asyncio.Event()
    if ended:
        event.set()
    consumer = Consumer("Q", AccountConfirmed, script, 1)
    await handling.handle(consumer, message, event, None)  # type: ignore[arg-type]
    return message


async def test_a_handler_that_returns_acknowledges(handling: Deliveries) -> None:
    script = Script()
    assert (await deliver(handling, script, Incoming())).said == ["ack"]
    (seen,) = script.seen
    assert (seen.body.user_id, seen.correlation_id, seen.reply_to) == ("u", "c", "r")


async def test_a_rejected_message_is_a_dead_letter(handling: Deliveries) -> None:
    assert (await deliver(handling, Script(RejectError("no")), Incoming())).said == ["dead letter"]


@pytest.mark.parametrize("body", [b"{", b'{"v": 2}', BODY.replace(b'"v":1', b'"v":9')])
async def test_what_is_not_understood_is_a_dead_letter(handling: Deliveries, body: bytes) -> None:
    script = Script()
    assert (await deliver(handling, script, Incoming(body))).said == ["dead letter"]
    assert not script.seen


async def test_a_message_is_held_while_a_dependency_is_down(handling: Deliveries) -> None:
    away: list[Exception | None] = [DependencyDownError("Redis"), BrokerUnavailableError("x")] * 20
    script = Script(*away)
    assert (await deliver(handling, script, Incoming())).said == ["ack"]
    assert len(script.seen) == 41


async def test_a_held_message_is_let_go_when_its_channel_is_gone(handling: Deliveries) -> None:
    script = Script(DependencyDownError("Redis"))
    assert (await deliver(handling, script, Incoming(), ended=True)).said == []
    assert len(script.seen) == 1


async def test_a_defect_is_tried_five_times_and_then_counts(handling: Deliveries) -> None:
    script = Script(*[RuntimeError("bug")] * 10)
    assert (await deliver(handling, script, Incoming())).said == ["requeue"]
    assert len(script.seen) == deliveries.UNKNOWN_ERROR_LIMIT


async def test_a_retry_is_parked_before_the_original_goes(
    handling: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = Incoming(attempts=3)
    parked: list[tuple[str, str, Any]] = []

    async def publish(exchange: str, routing_key: str, copy: Any) -> None:
        assert not message.said
        parked.append((exchange, routing_key, copy))

    monkeypatch.setattr(handling, "_publish", publish)
    assert (await deliver(handling, Script(RetryError("greylisted")), message)).said == ["ack"]
    ((exchange, routing_key, copy),) = parked
    assert (exchange, routing_key, copy.body, copy.message_id) == ("email", "Q", BODY, "m")
    assert copy.headers[deliveries.ATTEMPTS_HEADER] == 4


async def test_a_retry_that_cannot_be_parked_is_requeued(handling: Deliveries) -> None:
    assert (await deliver(handling, Script(RetryError("later")), Incoming())).said == ["requeue"]


async def test_retries_end_as_a_dead_letter(handling: Deliveries) -> None:
    message = Incoming(attempts=deliveries.RETRY_LIMIT)
    assert (await deliver(handling, Script(RetryError("later")), message)).said == ["dead letter"]


async def test_a_redelivery_waits_for_what_was_begun(handling: Deliveries) -> None:
    order: list[str] = []
    go = asyncio.Event()

    async def slow(_: Delivery[AccountConfirmed]) -> None:
        order.append("begin")
        await go.wait()
        order.append("end")

    consumer = Consumer("Q", AccountConfirmed, slow, 1)
    first = asyncio.create_task(
        handling.handle(consumer, Incoming(), asyncio.Event(), None)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    second = asyncio.create_task(
        handling.handle(consumer, Incoming(), asyncio.Event(), first)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, second)
    assert order == ["begin", "end", "begin", "end"]
