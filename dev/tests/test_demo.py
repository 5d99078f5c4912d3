"""What the demo prints, and what it says when it cannot go on."""

import io

import httpx2
import pytest
from rich.console import Console

from ashchat_dev import demo, environment
from ashchat_dev.client import Person, RequestRefusedError
from ashchat_dev.client import Reply as HttpReply
from ashchat_dev.conversation import Heard
from ashchat_dev.environment import Environment, NotConfiguredError
from ashchat_dev.mailbox import NoMailError
from ashchat_dev.phoenix import SocketRefusedError

WHERE = Environment("http://127.0.0.1:30080", "http://127.0.0.1:30025")


def printed(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=demo.WIDTH, highlight=False)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0001, "1 ms"), (0.0123, "13 ms"), (0.9999, "1000 ms"), (1.26, "1.3 s")]
)
def test_a_duration_is_milliseconds_until_it_is_a_second(seconds: float, text: str) -> None:
    assert demo.milliseconds(seconds) == text


PEOPLE = [Person(WHERE, "Lucía", "es"), Person(WHERE, "Emma", "en"), Person(WHERE, "João", "pt")]


def test_an_exchange_shows_all_texts_and_how_long_the_slowest_took() -> None:
    line = demo.Line(0, "La casa es grande.", answers=1)
    heard = {
        1: Heard(line.text, "The house is big.", 0.012, 0.14),
        2: Heard(line.text, "A casa é grande.", 0.02, 0.1),
    }
    text = printed(demo.exchange_table(line, PEOPLE, heard, "Hola."))
    assert [row.rstrip() for row in text.splitlines()] == [
        "               “Hola.”",
        "Lucía replies  La casa es grande.",
        "Emma reads     The house is big.",
        "João reads     A casa é grande.",
        "               the originals after 20 ms, the translations after 140 ms",
    ]


def test_a_reaction_shows_when_all_have_seen_it() -> None:
    text = printed(demo.reaction_table(1, "🌷", PEOPLE, 0.0042))
    assert [row.rstrip() for row in text.splitlines()] == [
        "Emma reacts    🌷",
        "               seen by the others after 5 ms",
    ]


@pytest.mark.parametrize("line", demo.SCRIPT, ids=lambda line: line.text)
def test_a_line_refers_to_earlier_lines_only_and_edits_the_own_one(line: demo.Line) -> None:
    number = demo.SCRIPT.index(line)
    for other in (line.answers, line.edits):
        assert other is None or other < number
    assert line.edits is None or demo.SCRIPT[line.edits].speaker == line.speaker


def test_the_sign_in_with_two_factor_is_one_line_of_the_page() -> None:
    text = printed(*demo.sign_in_lines(Person(WHERE, "Lucía", "es"), 0.51, 0.94))
    assert text.splitlines() == [
        "  All signed up with the codes from their mails and signed in: 0.5 s.",
        "  Lucía signs in on a second device with a code from her authenticator: 0.9 s.",
        "  Lucía creates the group “La casa nueva”.",
    ]
    assert max(len(line) for line in text.splitlines()) <= demo.WIDTH


def test_no_line_is_wider_than_the_page_however_long_the_message() -> None:
    heard = Heard("palabra " * 40, "word " * 60, 0.012, 0.14)
    pods = [("demo-chat-7d9f8b-abcde", 1), ("demo-chat-x", None), ("demo-chat-x", 2)]
    seats = [demo.Seat(who, *pod) for who, pod in zip(PEOPLE, pods, strict=True)]
    line = demo.Line(0, heard.original, answers=0)
    text = printed(
        demo.people_table(seats),
        demo.exchange_table(line, PEOPLE, {1: heard, 2: heard}, heard.original),
        demo.summary([heard, heard]),
    )
    assert max(len(line) for line in text.splitlines()) <= demo.WIDTH


def test_the_summary_has_the_medians() -> None:
    heard = [Heard("a", "b", ms / 1000, ms / 100) for ms in (10, 20, 90)]
    assert "Median: original 20 ms, translation 200 ms." in " ".join(
        printed(demo.summary(heard)).split()
    )


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (httpx2.ConnectError("refused"), "http://127.0.0.1:30080 does not answer.*make up"),
        (NoMailError("no such mail"), "did not come by mail.*30025"),
        (
            RequestRefusedError("signup", HttpReply(503, {"reason": "unavailable"}, {}, 0)),
            "refused a step that should work.*unavailable",
        ),
        (SocketRefusedError(503, "the socket was refused"), "did not go on"),
    ],
)
def test_a_failure_is_a_sentence_with_what_to_do(error: Exception, says: str) -> None:
    import re

    assert re.search(says, demo.explain(error, WHERE))


def test_not_knowing_where_ashchat_is_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nothing(*_: object) -> Environment:
        raise NotConfiguredError("run `make up` first")

    monkeypatch.setattr(environment, "load", nothing)
    assert demo.main() == 2
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "run `make up` first")


def test_nobody_answering_is_exit_code_1_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        environment, "load", lambda *_: Environment("http://127.0.0.1:1", "http://127.0.0.1:1")
    )
    assert demo.main() == 1
    assert "does not answer" in capsys.readouterr().err
