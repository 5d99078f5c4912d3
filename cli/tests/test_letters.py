"""What is shown of a dead letter, and what is not."""

import json
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from ashchat_cli import letters
from ashchat_cli.letters import HARMLESS, HIDDEN, Letter
from ashchat_core.messages import AccountCreation, TranslateJob
from ashchat_core.topology import QUEUES, Queue, QueueSpec

AT = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
DEATH = {"queue": "TRANSLATE_QUEUE", "reason": "rejected", "count": 1, "time": AT}
JOB = TranslateJob(
    room="r",
    message="m",
    text_version=1,
    text="mi casa es azul",
    sender="sender-id",
    source="es",
    targets=("en",),
    requested_at=AT,
)


def letter(body: bytes, queue: Queue = Queue.TRANSLATE, **headers: Any) -> Letter:
    return Letter(queue, 1, "id-1", {"x-death": [DEATH], **headers}, body)


def test_why_and_when_it_was_dead_lettered_is_shown() -> None:
    found = letter(JOB.model_dump_json().encode()).data()
    assert (found["reason"], found["died"]) == ("rejected", "2026-11-25T09:00:00Z")
    assert found["why"] == "its reader gave it up"
    assert found["id"] == "id-1"


def test_the_record_of_the_original_queue_counts() -> None:
    retried = {"queue": "TRANSLATE_QUEUE.retry", "reason": "expired", "time": AT}
    found = Letter(Queue.TRANSLATE, 1, "", {"x-death": [retried, DEATH]}, b"")
    assert found.reason == "rejected"
    assert Letter(Queue.TRANSLATE, 1, "", {}, b"").reason == "unknown"


def test_a_text_is_hidden_and_ids_are_not() -> None:
    told = letter(JOB.model_dump_json().encode()).data()
    assert told["fields"]["text"] == HIDDEN
    assert told["fields"]["message"] == "m"
    assert "azul" not in json.dumps(told)
    assert "azul" in letter(JOB.model_dump_json().encode()).data(whole=True)["body"]


def test_an_address_a_name_and_a_hash_are_hidden() -> None:
    body = AccountCreation(
        kind="sign_up",
        sign_up_id="s",
        email="ana@example.org",
        nickname="Ana",
        password_hash="$argon2id$x",
        preferred_language="es",
        requested_at=AT,
    )
    told = json.dumps(letter(body.model_dump_json().encode(), Queue.ACCOUNT_CREATION).data())
    for private in ("ana@", "Ana", "argon2"):
        assert private not in told


@pytest.mark.parametrize("spec", QUEUES, ids=lambda spec: spec.name)
def test_of_every_message_only_what_is_harmless_is_shown(spec: QueueSpec) -> None:
    model: type[BaseModel] = spec.body
    free = {
        name: f"private-{name}"
        for name, field in model.model_fields.items()
        if name not in HARMLESS and str in (field.annotation, *get_args(field.annotation))
    }
    values = {
        name: free.get(name, field.default)
        for name, field in model.model_fields.items()
        if name in free or field.default is not PydanticUndefined
    }
    told = letter(model.model_construct(**values).model_dump_json().encode(), spec.name).data()
    assert "private-" not in json.dumps(told)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"not json", b'{"v": 2, "text": "azul"}', b"[1]"])
def test_a_body_that_is_not_understood_says_where_and_shows_nothing(body: bytes) -> None:
    told = letter(body).data()
    assert told["problem"].startswith("not valid: ")
    assert "azul" not in json.dumps(told)
    assert set(told["fields"].values()) <= {HIDDEN}


def test_an_unknown_fields_name_is_not_shown() -> None:
    body = {**json.loads(JOB.model_dump_json()), "ana@example.org": 1}
    told = letter(json.dumps(body).encode()).data()
    assert "ana@example.org" not in json.dumps(told["fields"])


@pytest.mark.parametrize(
    "name", ["TRANSLATE_QUEUE", "translate", "Translate_Queue", "TRANSLATE_QUEUE.dead"]
)
def test_a_queue_may_be_named_in_short(name: str) -> None:
    found = letters.spec_of(name)
    assert found is not None
    assert found.name is Queue.TRANSLATE


def test_a_queue_that_is_not_there_is_none() -> None:
    assert letters.spec_of("translat") is None


def test_a_replayed_message_has_no_record_of_earlier_deliveries() -> None:
    headers = {
        "x-death": [DEATH],
        "x-first-death-queue": "a",
        "x-last-death-reason": "b",
        "x-delivery-count": 3,
        "x-ashchat-attempts": 40,
        "traceparent": "kept",
    }
    assert letters.headers_anew(headers) == {"traceparent": "kept"}
