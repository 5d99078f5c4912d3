"""Origins of pages: which are equal, which are allowed, which are not origins."""

import pytest

from ashchat_core.origins import allowed, parse, parse_list

OURS = parse_list("https://chat.example.org, http://127.0.0.1:30080, https://bücher.example")
APPS = (
    "null",
    "file://",
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "app://.",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://7f2d0a1c-0000-4000-8000-0123456789ab",
)


@pytest.mark.parametrize(
    "origin",
    [
        "https://chat.example.org",
        "https://chat.example.org:443",
        "https://CHAT.example.org",
        "HTTPS://chat.example.org",
        "http://127.0.0.1:30080",
        "https://xn--bcher-kva.example",
        "https://bücher.example",
    ],
)
def test_a_listed_origin_is_allowed(origin: str) -> None:
    assert allowed(origin, "whatever", OURS)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://chat.example.org",
        "https://chat.example.org:8443",
        "https://chat.example.org.evil.example",
        "https://evil.example/https://chat.example.org",
        "https://chat.example.org/page",
        "https://chat.example.org?x",
        "https://chat.example.org#x",
        "https://user@chat.example.org",
        "http://127.0.0.1",
        "",
        "https://",
        "https://chat.example.org:port",
        "https://[::1",
        "https://-.\u0301example",
        *APPS,
    ],
)
def test_others_are_not(origin: str) -> None:
    assert not allowed(origin, "chat.example.org", OURS)


@pytest.mark.parametrize("origin", APPS)
def test_an_application_is_allowed_if_its_origin_is_listed(origin: str) -> None:
    listed = parse_list(origin)
    assert allowed(origin, "chat.example.org", listed)
    for other in set(APPS) - {origin}:
        assert not allowed(other, "chat.example.org", listed)


def test_a_client_that_sends_no_origin_is_not_restricted() -> None:
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
def test_if_nothing_is_listed_the_page_must_be_of_the_requested_host(
    origin: str,
    may: bool,  # noqa: FBT001
) -> None:
    assert allowed(origin, "chat.example.org", ()) is may


@pytest.mark.parametrize("text", ["chat.example.org", "https://a.example/x", "*", "https://"])
def test_a_setting_that_is_not_an_origin_is_rejected(text: str) -> None:
    assert parse(text) is None
    with pytest.raises(ValueError, match="is not an origin"):
        parse_list(f"https://a.example, {text}")
