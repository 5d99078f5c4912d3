"""Why a server is unreachable: each cause, on a real socket, has its own message."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_dev.authority import Authority, Pair
from ashchat_operator.backends import connectivity
from ashchat_operator.backends.base import Address, BackendError, TlsFailedError, UnreachableError

OURS = Authority()
HERE = "127.0.0.1"


@asynccontextmanager
async def listening(folder: Path, pair: Pair | None = None) -> AsyncIterator[int]:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = pair.context(folder) if pair else None
    async with await asyncio.start_server(hang_up, HERE, 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_certificate_for_this_name_by_the_configured_ca_is_accepted(tmp_path: Path) -> None:
    async with listening(tmp_path, OURS.server(HERE)) as port:
        await connectivity.check("Redis", Address(HERE, port, OURS.certificate))


@pytest.mark.parametrize(
    ("pair", "ca", "says"),
    [
        (OURS.server(HERE), Authority().certificate, "by another authority than that of"),
        (OURS.server(HERE), "", "by another authority than a public one"),
        (OURS.server("redis.example.org"), OURS.certificate, f"does not cover the name {HERE}"),
        (OURS.server(HERE, expired=True), OURS.certificate, "has expired"),
        (OURS.server(HERE), "nonsense", "is not a certificate"),
        (None, OURS.certificate, "does not speak TLS"),
    ],
    ids=["authority", "public", "name", "expired", "no authority", "no TLS"],
)
async def test_each_tls_failure_has_its_own_message(
    pair: Pair | None, ca: str, says: str, tmp_path: Path
) -> None:
    async with listening(tmp_path, pair) as port:
        with pytest.raises(TlsFailedError, match=says) as caught:
            await connectivity.check("Redis", Address(HERE, port, ca))
    assert caught.value.reason is Reason.TLS_FAILED


async def test_a_name_that_does_not_resolve_is_dns() -> None:
    with pytest.raises(UnreachableError, match="does not resolve"):
        await connectivity.check("Redis", Address("redis.invalid", 6379))


async def test_a_port_without_a_listener_refuses(tmp_path: Path) -> None:
    async with listening(tmp_path) as port:
        pass
    with pytest.raises(UnreachableError, match="refuses the connection"):
        await connectivity.check("Redis", Address(HERE, port))


async def test_dropped_packets_are_reported_as_a_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connectivity, "TIMEOUT_SECONDS", 0.2)
    with socket.socket() as full:
        full.bind((HERE, 0))
        full.listen(0)
        port = full.getsockname()[1]
        # The backlog of a listener that never accepts fills up; further packets are dropped.
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.settimeout(0)
            one.connect_ex((HERE, port))
        with pytest.raises(UnreachableError, match=r"did not answer within 0.2 s\. A firewall"):
            await connectivity.check("Redis", Address(HERE, port))
        for one in waiting:
            one.close()


async def test_a_client_that_failed_is_explained(tmp_path: Path) -> None:
    general = UnreachableError("Redis does not answer.")

    async def raised(address: Address | None) -> BackendError:
        with pytest.raises(BackendError) as caught:
            async with connectivity.explained("Redis", address):
                raise general
        return caught.value

    async with listening(tmp_path, OURS.server(HERE)) as port:
        found = await raised(Address(HERE, port, ""))
        assert found.reason is Reason.TLS_FAILED
        fine = await raised(Address(HERE, port, OURS.certificate))
        assert fine is general
        plain = await raised(Address(HERE, port))
        assert "may expect TLS" in str(plain)
    assert await raised(None) is general


def test_clients_of_plain_http_trust_no_certificate_at_all() -> None:
    context = connectivity.no_trust()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509"] == 0
