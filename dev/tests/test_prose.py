"""The check of phrases reads prose and nothing else."""

from pathlib import Path

import pytest

from ashchat_dev import prose

PHRASES = prose.phrases()


def found(name: str, text: str) -> list[tuple[int, str]]:
    return [(hit.line, hit.text) for hit in prose.hits(name, text, PHRASES)]


def test_comments_strings_and_names_of_tests_are_read() -> None:
    source = (
        '"""Make it anew."""\n'
        "# Pods are asked abreast; nobody\n"
        "# else waits.\n"
        'def test_it_begins_anew() -> None:\n    beside = f"whoever {beside}"\n'
    )
    assert found("x.py", source) == [
        (1, "anew"),
        (2, "abreast"),
        (2, "nobody else"),
        (4, "anew"),
        (5, "whoever"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "`anew` and\n```\nanew\n```\n",
        "Besides, the way in which it is done is so long that it matters.\n",
        "You cannot tell whether leverage helps.\n",
    ],
)
def test_code_and_plain_english_are_left_alone(text: str) -> None:
    assert not found("x.md", text)


def test_a_phrase_may_be_broken_across_lines() -> None:
    assert found("x.md", "first\nhas a pool of\nits own\n") == [(2, "of its own")]


def test_every_phrase_has_an_alternative() -> None:
    assert all(phrase.instead for phrase in PHRASES)


def test_a_hit_fails_unless_its_path_is_exempt_and_a_superfluous_exemption_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pending = tmp_path / "pending.txt"
    (tmp_path / "a.md").write_text("anew\n")
    monkeypatch.setattr(prose, "ROOT", tmp_path)
    monkeypatch.setattr(prose, "NOT_YET_EDITED", pending)
    monkeypatch.setattr(prose, "files", lambda: ["a.md"])
    assert prose.main([]) == 1
    pending.write_text("a.md\n")
    assert prose.main([]) == 0
    (tmp_path / "a.md").write_text("again\n")
    assert prose.main([]) == 1
    assert "--shrink" in capsys.readouterr().out
    assert prose.main(["--shrink"]) == 0
    assert prose.main([]) == 0
