"""Whose pages may open sockets."""

import pytest

from ashchat_chat.origins import allowed

OURS = ("https://chat.example.org", "http://127.0.0.1:30080")


@pytest.mark.parametrize(
    "origin",
    [
        "https://chat.example.org",
        "https://chat.example.org:443",
        "https://CHAT.example.org",
        "http://127.0.0.1:30080",
    ],
)
def test_our_own_pages_may(origin: str) -> None:
    assert allowed(origin, "whatever", OURS)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://chat.example.org",
        "https://chat.example.org:8443",
        "https://chat.example.org.evil.example",
        "https://evil.example/https://chat.example.org",
        "http://127.0.0.1",
        "null",
        "",
        "https://chat.example.org:port",
        "file://",
    ],
)
def test_others_may_not(origin: str) -> None:
    assert not allowed(origin, "chat.example.org", OURS)


def test_a_client_that_is_no_browser_is_not_asked() -> None:
    assert allowed(None, "chat.example.org", OURS)


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        ("https://chat.example.org", True),
        ("http://chat.example.org:80", False),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_with_nothing_listed_the_page_is_of_the_host_that_is_asked(origin: str, may: bool) -> None:  # noqa: FBT001
    assert allowed(origin, "chat.example.org", ()) is may
