"""The hostile load: what counts as documented, and that a sender does what its plan says."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from ashchat_e2e.hostile import null_server
from ashchat_e2e.hostile.attacks import ACCOUNT, STRANGER, Identity, Sample
from ashchat_e2e.hostile.endpoints import of_description
from ashchat_e2e.hostile.generator import Plan, send
from ashchat_e2e.hostile.tally import Tally, objection, reason_of

EVE = Identity("eve@example.org", "u1", "token", "refresh", "device", "room", "tag")


@pytest.mark.parametrize(
    ("status", "reason", "retry_after", "wrong"),
    [
        (200, "", None, ""),
        (401, "wrong_credentials", None, ""),
        (429, "too_many_requests", "3", ""),
        (503, "unavailable", "2", ""),
        (4429, "", None, ""),
        (400, "", None, "no reason"),
        (429, "too_many_requests", None, "no Retry-After"),
        (503, "unavailable", "soon", "no Retry-After"),
        (500, "internal", None, "a server error other than 503"),
        (502, "unavailable", "2", "a server error other than 503"),
        (1011, "", None, "the close code is not documented"),
    ],
)
def test_refusals_without_a_reason_or_a_time_are_objected_to(
    status: int, reason: str, retry_after: str | None, wrong: str
) -> None:
    assert objection(status, reason, retry_after) == wrong


def test_the_reason_is_in_the_body_or_in_its_data() -> None:
    assert reason_of(b'{"reason": "expired"}') == "expired"
    assert reason_of(b'{"data": {"reason": "expired"}, "message": "x"}') == "expired"
    assert [reason_of(body) for body in (b"", b"[]", b"null", b'{"data": null}', b"\xff")] == [
        ""
    ] * 5


def test_a_tally_survives_the_log_of_a_pod() -> None:
    tally = Tally(due=3)
    tally.answer("sign-up", 202)
    tally.answer("sign-up", 500, "internal")
    tally.broke("slow body", ConnectionResetError())
    read = Tally.loads(tally.dumps())
    assert read == tally
    assert read.answers["sign-up: 202"] == 1
    assert len(read.undocumented) == 1


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[str]:
    runner = web.AppRunner(null_server.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("identity", [None, EVE])
async def test_a_sender_begins_every_action_in_time(identity: Identity | None) -> None:
    async with serving() as url:
        # The slow ones last half a minute.
        attacks = {
            attack: 1
            for attack in (ACCOUNT if identity else STRANGER)
            if attack.__name__
            not in {"slow_body", "slow_upload", "half_request", "idle_socket", "flood_frames"}
        }
        plan = Plan(
            url, 1.0, 30, "a seed", "ana@example.org", identity, [Sample("GET", "/a", None)], 20
        )
        async with asyncio.timeout(30):
            tally = await send(Plan.loads(plan.dumps()), attacks)
    assert tally.due == 30
    assert tally.withheld == 0
    assert tally.undocumented == []
    assert tally.answers.total() + tally.broken.total() >= 30
    assert 0.9 <= tally.ended - tally.began < 10


async def test_a_server_that_does_not_answer_does_not_stop_a_sender() -> None:
    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    attack = next(each for each in STRANGER if each.__name__ == "guess_account")
    async with server:
        tally = await send(Plan(url, 0.2, 100, "a seed", "ana@example.org"), {attack: 1})
    assert tally.due == 20
    assert tally.broken == {"guess_account: ServerDisconnectedError": 20}


DESCRIPTION = {
    "paths": {
        "/things/{id}": {
            "put": {
                "parameters": [{"name": "id", "in": "path"}],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                    }
                },
            }
        },
        "/api/user/signout": {"post": {}},
    },
    "components": {
        "schemas": {
            "Thing": {
                "type": "object",
                "properties": {"name": {"type": "string", "examples": ["Ana"]}},
            }
        }
    },
}


def test_every_endpoint_of_a_description_is_tried() -> None:
    found = of_description(DESCRIPTION, "/chat", "a seed", signed_in=False)
    put, signout = found[:3], found[3:]
    assert {each.method for each in put} == {"PUT"}
    assert all(each.path.startswith("/chat/things/") and "{" not in each.path for each in put)
    assert len({each.body for each in put}) == 3
    assert signout == [Sample("POST", "/chat/api/user/signout", None)]
    assert found == of_description(DESCRIPTION, "/chat", "a seed", signed_in=False)
    assert of_description(DESCRIPTION, "/chat", "a seed", signed_in=True) == put
