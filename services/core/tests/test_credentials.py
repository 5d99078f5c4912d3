import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from ashchat_core import credentials as module
from ashchat_core.credentials import Credentials, MissingCredentialError


def mount(folder: Path, name: str, **files: str) -> None:
    """Lay files down as the kubelet does: a new folder, then one rename of the link to it."""
    data = folder / f"..{name}"
    data.mkdir()
    for file, text in files.items():
        (data / file.replace("_", ".")).write_text(text)
        link = folder / file.replace("_", ".")
        if not link.is_symlink():
            link.symlink_to(Path("..data") / link.name)
    fresh = folder / "..data_tmp"
    fresh.symlink_to(data.name)
    fresh.rename(folder / "..data")


@pytest.fixture
async def changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator["asyncio.Queue[str]"]:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    mount(tmp_path, "one", rabbitmq_uri="amqp://a", rabbitmq_revision="1")
    folder, seen = Credentials(tmp_path), asyncio.Queue[str]()

    async def changed() -> None:
        seen.put_nowait(folder.read("rabbitmq.uri").text)

    task = asyncio.create_task(folder.watch("rabbitmq.uri", changed))
    await asyncio.sleep(0.005)
    yield seen
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_swapped_mount_is_seen(tmp_path: Path, changes: "asyncio.Queue[str]") -> None:
    mount(tmp_path, "two", rabbitmq_uri="amqp://b", rabbitmq_revision="2")
    assert await asyncio.wait_for(changes.get(), 1) == "amqp://b"


async def test_a_new_revision_alone_is_a_change(
    tmp_path: Path, changes: "asyncio.Queue[str]"
) -> None:
    mount(tmp_path, "two", rabbitmq_uri="amqp://a", rabbitmq_revision="2")
    assert await asyncio.wait_for(changes.get(), 1) == "amqp://a"


async def test_the_same_contents_again_are_no_change(
    tmp_path: Path, changes: "asyncio.Queue[str]"
) -> None:
    mount(tmp_path, "two", rabbitmq_uri="amqp://a", rabbitmq_revision="1")
    await asyncio.sleep(0.02)
    assert changes.empty()


def test_text_and_revision_are_of_one_moment(tmp_path: Path) -> None:
    mount(tmp_path, "one", redis_uri="redis://a\n", redis_revision="1\n")
    credential = Credentials(tmp_path).read("redis.uri")
    assert (credential.text, credential.revision) == ("redis://a", "1")
    assert "redis://a" not in repr(credential)


def test_a_folder_that_is_no_mount_works_too(tmp_path: Path) -> None:
    (tmp_path / "redis.uri").write_text("redis://a")
    assert Credentials(tmp_path).read("redis.uri").revision == ""


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingCredentialError, match=r"mongodb\.uri"):
        Credentials(tmp_path).text("mongodb.uri")


def test_only_the_revision_in_use_is_reported(tmp_path: Path) -> None:
    folder = Credentials(tmp_path)
    for revision in ("1", "2"):
        folder.use("smtp", revision)
    assert folder.in_use == {"smtp": "2"}

    def value(revision: str) -> float | None:
        return REGISTRY.get_sample_value(
            "ashchat_credential_revision_info", {"credential": "smtp", "revision": revision}
        )

    assert (value("1"), value("2")) == (None, 1.0)


def test_a_former_revision_is_reported_until_its_last_holder_lets_go(tmp_path: Path) -> None:
    folder = Credentials(tmp_path)

    def reported(revision: str) -> bool:
        labels = {"credential": "held", "revision": revision}
        return REGISTRY.get_sample_value("ashchat_credential_revision_info", labels) == 1

    folder.use("held", "1")
    for _ in range(2):
        folder.hold("held", "1")
    folder.use("held", "2")
    folder.release("held", "1")
    assert reported("1")
    assert reported("2")
    folder.release("held", "1")
    assert not reported("1")
    # A file that is rewritten without a change is still reported.
    folder.hold("held", "2")
    folder.use("held", "2")
    folder.release("held", "2")
    assert reported("2")
