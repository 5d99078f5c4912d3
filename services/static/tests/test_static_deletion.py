"""A user's uploads are deleted with the account, all of them, even after a crash."""

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from ashchat_core.amqp import Broker, Delivery, DependencyDownError
from ashchat_core.messages import AccountDeletion, Message, SessionRevoked
from ashchat_core.runtime import serve
from ashchat_static import consumers, store, usage
from ashchat_static.ended_sessions import ENDED, EndedSessions
from ashchat_static.folders import OWNERS, lock_owner
from ashchat_static.main import build
from ashchat_static.service import OwnerDeletedError, Purpose, Quota, owner_of
from ashchat_static.settings import Settings
from ashchat_static.store import GONE, Volume

QUOTA = Quota(stored_bytes=10**6, uploads_per_day=100)
ANA, BEN = owner_of("ana"), owner_of("ben")


class Killed(BaseException):
    """The process ended here."""


def name(number: int) -> str:
    return f"{number:064x}.png"


async def upload(volume: Volume, owner: str, number: int) -> None:
    async with volume.draft() as draft:
        await draft.write(b"x")
        await draft.commit(name(number), owner, Purpose.FILE)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


@pytest.fixture
async def volume(tmp_path: Path) -> Volume:
    made = Volume(tmp_path, QUOTA)
    await made.prepare()
    return made


async def test_only_the_persons_own_files_go(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / name(9)).touch()  # of before there were owners
    for number in (1, 2):
        await upload(volume, ANA, number)
    await upload(volume, BEN, 3)
    assert await volume.remove_owner(ANA) == 2
    assert files(tmp_path) == [name(3), name(9)]
    assert files(tmp_path / OWNERS / ANA) == [GONE]
    assert await volume.remove_owner(ANA) == 0
    assert await volume.remove_owner(owner_of("nobody")) == 0


async def test_no_file_is_seen_before_its_owner_is_known(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(Killed):
        await upload(volume, ANA, 1)
    assert files(tmp_path) == []
    assert files(tmp_path / OWNERS / ANA) == [usage.USAGE, name(1)]
    monkeypatch.undo()
    await upload(volume, ANA, 1)
    assert files(tmp_path) == [name(1)]
    assert await volume.remove_owner(ANA) == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize("steps", range(12))
async def test_killed_anywhere_the_next_delivery_finishes(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    for number in range(3):
        await upload(volume, ANA, number)
    left = steps
    real: dict[str, Any] = {"unlink": Path.unlink, "touch": Path.touch}

    def dies(which: str) -> Any:
        def step(path: Path, **options: Any) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            real[which](path, **options)

        return step

    for which in real:
        monkeypatch.setattr(Path, which, dies(which))
    if steps < 11:  # three files, three markers, two times two files of the account, GONE
        with pytest.raises(Killed):
            await volume.remove_owner(ANA)
    monkeypatch.undo()
    await volume.remove_owner(ANA)
    assert files(tmp_path) == []
    assert files(tmp_path / OWNERS / ANA) == [GONE]


async def test_an_upload_during_the_deletion_leaves_nothing(volume: Volume, tmp_path: Path) -> None:
    uploads = [upload(volume, ANA, number) for number in range(30)]
    ended = await asyncio.gather(*uploads, volume.remove_owner(ANA), return_exceptions=True)
    assert {type(one) for one in ended} <= {type(None), int, OwnerDeletedError}
    assert files(tmp_path) == []


async def test_the_marker_of_a_deletion_is_removed_when_no_token_is_valid(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await volume.remove_owner(ANA)
    await volume.prepare()
    with pytest.raises(OwnerDeletedError):
        await upload(volume, ANA, 1)
    monkeypatch.setattr(store, "ENDS_KEPT_SECONDS", -1.0)
    await volume.prepare()
    assert not (tmp_path / OWNERS / ANA).exists()


async def test_ended_sessions_are_forgotten_when_no_token_is_valid(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = EndedSessions(tmp_path)
    await upload(volume, BEN, 1)
    for user in ("ana", "ben"):
        await ended.add(SessionRevoked(user_id=user, below=1, at=NOW))
    await volume.prepare()
    assert [files(tmp_path / OWNERS / owner)[0] for owner in (ANA, BEN)] == [ENDED, ENDED]
    monkeypatch.setattr(store, "ENDS_KEPT_SECONDS", -1.0)
    await volume.prepare()
    assert not (tmp_path / OWNERS / ANA).exists()
    assert files(tmp_path / OWNERS / BEN) == [usage.USAGE, name(1)]


async def test_a_folder_that_is_removed_while_another_process_waits_for_it(
    tmp_path: Path,
) -> None:
    ended = EndedSessions(tmp_path)
    with lock_owner(tmp_path, ANA) as owned:
        waiting = asyncio.create_task(
            ended.add(SessionRevoked(user_id="ana", session_ids=("s",), at=NOW))
        )
        await asyncio.sleep(0.05)  # it may wait for the lock; without it, it would not
        assert not waiting.done()
        owned.rmdir()
    await waiting
    assert files(tmp_path / OWNERS / ANA) == [ENDED]


async def test_a_deleted_account_begins_no_upload(volume: Volume, tmp_path: Path) -> None:
    await volume.remove_owner(ANA)
    with pytest.raises(OwnerDeletedError):
        await volume.admit(ANA)
    assert files(tmp_path / OWNERS / ANA) == [GONE]


def age(*paths: Path) -> None:
    long_ago = time.time() - 2 * store.ORPHAN_MIN_AGE_SECONDS
    for path in paths:
        os.utime(path, (long_ago, long_ago))


async def swept(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep once."""
    slept = 0

    async def sleep(_: float) -> None:
        nonlocal slept
        slept += 1
        if slept > 1:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", sleep)
        with pytest.raises(Killed):
            await volume.sweep()


async def test_orphans_are_removed_when_they_are_old(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await upload(volume, ANA, number)
    owned = tmp_path / OWNERS / ANA
    (tmp_path / name(0)).unlink()  # killed between the marker and the file
    (owned / name(1)).unlink()  # a file without an owner
    await swept(volume, monkeypatch)
    assert files(tmp_path) == [name(1), name(2)]
    age(tmp_path / name(1), owned / name(0))
    await swept(volume, monkeypatch)
    assert files(tmp_path) == [name(2)]
    assert files(owned) == [name(2)]
    assert usage.read(tmp_path, owned).stored_bytes == 1


async def test_files_stay_if_most_have_lost_their_owner(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await upload(volume, ANA, number)
    age(*(tmp_path / name(number) for number in range(3)))
    shutil.rmtree(tmp_path / OWNERS / ANA)
    await swept(volume, monkeypatch)
    assert len(files(tmp_path)) == 3


class Notebook:
    """A broker that keeps who listens."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def consume(self, queue: str, model: type, handler: object, *, prefetch: int) -> None:
        assert model in {AccountDeletion, SessionRevoked}
        assert prefetch > 0
        self.handlers[queue] = handler


NOW = datetime(2026, 1, 1, tzinfo=UTC)
BODIES: dict[str, Message] = {
    "ACCOUNT_DELETION_STATIC_QUEUE": AccountDeletion(user_id="ana", at=NOW),
    "SESSION_REVOKED_STATIC_QUEUE": SessionRevoked(user_id="ana", below=1, at=NOW),
}


@pytest.mark.parametrize("queue", BODIES)
async def test_a_volume_that_fails_holds_the_message(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    delivery = Delivery(BODIES[queue], "m", None, None, redelivered=False, attempts=0)
    broker = Notebook()
    consumers.register(cast("Broker", broker), volume, EndedSessions(tmp_path))
    await upload(volume, ANA, 1)

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(DependencyDownError):
        await broker.handlers[queue](delivery)
    monkeypatch.undo()
    await broker.handlers[queue](delivery)
    assert files(tmp_path / OWNERS / ANA)[0] in {GONE, ENDED}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_it_serves_without_the_broker_and_is_ready_when_that_was_there_once(
    tmp_path: Path,
) -> None:
    (tmp_path / "rabbitmq.uri").write_text(f"amqp://static:x@127.0.0.1:{free_port()}/ashchat")
    settings = Settings(
        _env_file=None,
        credentials_dir=tmp_path,
        uploads_dir=tmp_path / "uploads",
        bind="127.0.0.1",
        port=free_port(),
        private_port=free_port(),
    )
    running = asyncio.create_task(serve(build(settings)))
    async with httpx2.AsyncClient(trust_env=False) as http, asyncio.timeout(5):
        waiting: dict[str, Any] = {}
        while waiting.get("waiting_for") != "RabbitMQ and its queues":
            with contextlib.suppress(httpx2.TransportError):
                waiting = (
                    await http.get(f"http://127.0.0.1:{settings.private_port}/readyz")
                ).json()
        assert waiting["ready"] is False
        page = await http.get(f"http://127.0.0.1:{settings.port}/files/default-avatar.png")
        assert page.status_code == 200
        os.kill(os.getpid(), signal.SIGTERM)
        await running
