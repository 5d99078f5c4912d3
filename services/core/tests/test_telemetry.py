import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from ashchat_core.telemetry import configure_logging, redact

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "line",
    [
        f'"WebSocket /socket/websocket?token={TOKEN}&vsn=2.0.0" [accepted]',
        "cannot reach amqp://auth-a:secret@broker:5672/ashchat",
        f"the token {TOKEN} is wrong",
    ],
)
def test_secrets_are_taken_out_of_a_line(line: str) -> None:
    cleaned = redact(line)
    assert TOKEN not in cleaned
    assert "secret" not in cleaned


def test_what_is_not_secret_stays() -> None:
    line = '127.0.0.1:5000 - "WebSocket /socket/websocket?token=x" [accepted]'
    assert redact(line) == '127.0.0.1:5000 - "WebSocket /socket/websocket?…" [accepted]'


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    configure_logging("auth", "INFO")
    yield stream
    root.setLevel(level)
    structlog.reset_defaults()


def test_our_lines_and_the_libraries_lines_are_json(output: io.StringIO) -> None:
    structlog.get_logger("x").info("signed in", user="u\n{}", password="p4ss", code="123456")
    logging.getLogger("uvicorn.error").info('"WebSocket /s?token=%s" [accepted]', TOKEN)
    failure = ValueError(f"broke at redis://u:hidden@h with {TOKEN}")
    logging.getLogger("library").error("failed", exc_info=failure)
    ours, theirs, failed = (json.loads(line) for line in output.getvalue().splitlines())
    assert (ours["event"], ours["user"], ours["service"]) == ("signed in", "u\n{}", "auth")
    assert ours["timestamp"].endswith("Z"), "UTC"
    assert ours["level"] == theirs["level"] == "info"
    assert "ValueError" in failed["exception"]
    for secret in ("p4ss", "123456", TOKEN, "hidden"):
        assert secret not in output.getvalue()
