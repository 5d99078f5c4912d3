"""Each service as a plain process with a completed `.env`, against the real backends.

`ashchat-operator topology apply` declares the backends' objects and writes the credentials, as in
docs/operations/run-without-kubernetes.md. If ASHCHAT_ADMIN_… is set, the tests use those
servers.
"""

import asyncio
import os
import re
import secrets
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio

from ashchat_core.topology import Service
from ashchat_dev.http import http_client
from ashchat_dev.kube.cluster import Cluster
from ashchat_dev.waiting import until
from ashchat_e2e.servers import admin_environment, take_away
from ashchat_operator.topology_cli import read_admin

ROOT = Path(__file__).parents[3]
OPERATOR = [sys.executable, "-c", "from ashchat_operator.cli import app; app()"]
END_SECONDS = 25
"""A pod is given 30 s; a service must exit sooner."""


@dataclass(frozen=True)
class Applied:
    """The result of `topology apply`: the credentials' directory, and the output."""

    folder: Path
    first: str
    second: str


def bare() -> dict[str, str]:
    """Return an environment without AshChat's variables."""
    return {key: value for key, value in os.environ.items() if not key.startswith("ASHCHAT_")}


async def topology(command: str, folder: Path, name: str, environment: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *OPERATOR,
        "topology",
        command,
        f"--folder={folder}",
        f"--name={name}",
        env={**bare(), **environment, "COLUMNS": "400"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def applied(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Applied]:
    name = f"outside-{secrets.token_hex(3)}"
    folder = tmp_path_factory.mktemp("outside") / "credentials"
    async with admin_environment(cluster) as environment:
        try:
            first = await topology("apply", folder, name, environment)
            second = await topology("apply", folder, name, environment)
            await topology("check", folder, name, environment)
            yield Applied(folder, first, second)
        finally:
            await take_away(read_admin(environment, name), name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def filled(service: Service, applied: Applied, tmp_path: Path, port: int, private: int) -> str:
    """Return the service's `.env.example` with its values filled in."""
    values = {
        "ASHCHAT_CREDENTIALS_DIR": applied.folder / service,
        "ASHCHAT_SIGNING_KEYS_DIR": applied.folder / "signing-keys",
        "ASHCHAT_KEY_RING_DIR": applied.folder / "key-ring",
        "ASHCHAT_JWKS_FILE": applied.folder / "jwks" / "jwks.json",
        "ASHCHAT_UPLOADS_DIR": tmp_path / "uploads",
        "ASHCHAT_BIND": "127.0.0.1",
        "ASHCHAT_PORT": port,
        "ASHCHAT_PRIVATE_PORT": private,
    }
    text = (ROOT / "services" / service / ".env.example").read_text()
    for key, value in values.items():
        text = re.sub(rf"^{key}=.*$", f"{key}={value}", text, flags=re.MULTILINE)
    return text


async def test_a_second_apply_changes_nothing(applied: Applied) -> None:
    assert "declared queue TRANSLATE_QUEUE" in applied.first
    assert "wrote " in applied.first
    assert not re.search(r"^(rabbitmq|redis|cache|mongodb): ", applied.second, re.MULTILINE)
    assert "wrote " not in applied.second
    for file in applied.folder.rglob("*"):
        expected = 0o700 if file.is_dir() else 0o600
        assert stat.S_IMODE(file.stat().st_mode) == expected
        if file.name.endswith(".uri"):
            password = re.search(r":([^:/@]+)@", file.read_text())
            assert password is not None
            assert password[1] not in applied.first


@pytest.mark.parametrize("service", Service)
async def test_a_service_starts_becomes_ready_and_ends(
    applied: Applied, tmp_path: Path, service: Service
) -> None:
    port, private = free_port(), free_port()
    (tmp_path / "uploads").mkdir()
    (tmp_path / ".env").write_text(filled(service, applied, tmp_path, port, private))
    log = tmp_path / "log"
    with log.open("w") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"ashchat_{service}",
            cwd=tmp_path,
            env=bare(),
            stdout=out,
            stderr=asyncio.subprocess.STDOUT,
        )
    try:
        async with http_client(f"http://127.0.0.1:{private}", timeout=5) as client:

            async def ready() -> httpx2.Response | None:
                assert process.returncode is None, log.read_text()[-2000:]
                try:
                    reply = await client.get("/readyz")
                except httpx2.TransportError:
                    return None
                return reply if reply.status_code == httpx2.codes.OK else None

            try:
                reply = await until(ready, within=60, what=f"{service} to be ready")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{log.read_text()[-2000:]}") from None
            assert (await client.get("/livez")).status_code == httpx2.codes.OK
            metrics = (await client.get("/metrics")).text
            assert "ashchat_build_info" in metrics
            # The revision identifies the credential in use.
            for file in (applied.folder / service).glob("rabbitmq.revision"):
                assert file.read_text() in reply.text
                assert f'revision="{file.read_text()}"' in metrics

        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), END_SECONDS) == 0, log.read_text()[-2000:]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = log.read_text()
    assert "stopped" in said
    for file in (applied.folder / service).glob("*.uri"):
        password = re.search(r":([^:/@]+)@", file.read_text())
        assert password is not None
        assert password[1] not in said
