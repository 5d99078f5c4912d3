"""The edge determines the client's network, whatever headers a client sends."""

import pytest

from ashchat_dev.client import Person, Reply
from ashchat_e2e.people import PersonFactory

LIES = ("198.51.100.66", "203.0.113.77")


async def sign_in(who: Person, headers: list[tuple[str, str]]) -> Reply:
    """Sign in with additional headers."""
    reply = await who.anonymous.request(
        "POST",
        "/auth/api/user/signin",
        json={
            "email": who.email,
            "password": who.password,
            "deviceTokenId": who.device_token,
        },
        headers=dict(headers),
    )
    assert reply.status == 200, reply
    return reply


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", LIES[0]),
        ("X-Forwarded-For", ", ".join(LIES)),
        ("X-Forwarded-For", f"{LIES[0]}, 10.244.0.1"),
        ("Forwarded", f"for={LIES[0]}"),
        ("X-Real-IP", LIES[0]),
        ("True-Client-IP", LIES[0]),
        ("X-Client-IP", LIES[0]),
        ("CF-Connecting-IP", LIES[0]),
    ],
)
async def test_client_headers_do_not_change_the_client_network(
    person: PersonFactory, name: str, value: str
) -> None:
    ana = await person()
    token = (await sign_in(ana, [(name, value)])).data["token"]
    # The former session of the device has ended.
    headers = {**ana.headers, "Authorization": f"Bearer {token}"}
    reply = await ana.auth.request("GET", "/security-events", headers=headers)
    events = reply.data["events"]
    assert [event["kind"] for event in events].count("signed_in") == 2
    assert len({event["address"] for event in events}) == 1, events
    assert not [event for event in events if event["address"] in LIES]
