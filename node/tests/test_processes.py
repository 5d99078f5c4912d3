import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ashchat_node.paths import Paths
from ashchat_node.processes import (
    Daemon,
    identify,
    parse_start_time,
    read_record,
    with_executable,
    write_record,
)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        state=tmp_path / "state",
        run=tmp_path / "run",
        log=tmp_path / "log",
        cache=tmp_path / "cache",
    )


@pytest.fixture
def daemon(tmp_path: Path, paths: Paths) -> Iterator[Daemon]:
    program = tmp_path / "sleeper"  # a separate program file, by which it is found
    program.write_bytes(Path("/usr/bin/sleep").read_bytes())
    program.chmod(0o755)
    sleeper = Daemon(name="sleeper", arguments=[str(program), "60"])
    yield sleeper
    sleeper.stop(paths)


def until(condition: object, seconds: float = 10) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_name_of_a_process_may_hold_anything() -> None:
    stat = "12 (a) S (b) R 1 " + " ".join(str(number) for number in range(5, 53))
    assert parse_start_time(stat) == 22


def test_a_zombie_does_not_run() -> None:
    assert parse_start_time("12 (a) Z 1 " + " ".join(["0"] * 48)) is None


def test_another_process_with_the_same_id_is_not_ours(tmp_path: Path) -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me.alive()
    write_record(tmp_path / "record", me)
    assert read_record(tmp_path / "record") == me
    for other in (replace(me, start_time=me.start_time + 1), replace(me, boot="another")):
        assert not other.alive()
        other.signal(signal.SIGKILL)  # must not reach this process
        write_record(tmp_path / "record", other)
        assert read_record(tmp_path / "record") is None


def test_a_broken_record_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "record").write_text('{"pid": 1')
    assert read_record(tmp_path / "record") is None
    assert read_record(tmp_path / "absent") is None


def test_a_daemon_is_started_once_and_ended(daemon: Daemon, paths: Paths) -> None:
    daemon.start(paths)
    until(lambda: daemon.child(paths))
    first = daemon.supervisor(paths)
    daemon.start(paths)
    assert daemon.supervisor(paths) == first
    child = daemon.child(paths)
    assert child is not None
    daemon.stop(paths)
    assert not child.alive()
    assert first is not None
    assert not first.alive()
    daemon.stop(paths)  # ending what has ended is no error


def test_a_killed_program_comes_back(daemon: Daemon, paths: Paths) -> None:
    daemon.start(paths)
    until(lambda: daemon.child(paths))
    first = daemon.child(paths)
    assert first is not None
    first.signal(signal.SIGKILL)
    until(lambda: (now := daemon.child(paths)) is not None and now != first)


def test_an_orphan_is_replaced(daemon: Daemon, paths: Paths) -> None:
    daemon.start(paths)
    until(lambda: daemon.child(paths))
    orphan, supervisor = daemon.child(paths), daemon.supervisor(paths)
    assert orphan is not None
    assert supervisor is not None
    supervisor.signal(signal.SIGKILL)
    until(lambda: not supervisor.alive())
    assert orphan.alive()
    daemon.start(paths)
    until(lambda: daemon.child(paths))
    assert not orphan.alive()
    assert len(with_executable(Path(daemon.arguments[0]))) == 1


def test_it_waits_for_its_files(daemon: Daemon, paths: Paths, tmp_path: Path) -> None:
    waiting = replace(daemon, wait_for=[str(tmp_path / "config")])
    waiting.start(paths)
    assert waiting.child(paths) is None
    (tmp_path / "config").touch()
    until(lambda: waiting.child(paths))


def test_a_program_of_others_is_stopped_only_if_it_was_started_here(
    daemon: Daemon, paths: Paths, tmp_path: Path
) -> None:
    shared = replace(daemon, exclusive=False)
    foreign = replace(paths, run=tmp_path / "another")
    daemon.start(foreign)
    until(lambda: daemon.child(foreign))
    other = daemon.child(foreign)
    assert other is not None
    shared.start(paths)
    until(lambda: shared.child(paths))
    own = shared.child(paths)
    assert own is not None
    shared.stop(paths)
    assert not own.alive()
    assert other.alive()
    daemon.stop(foreign)
