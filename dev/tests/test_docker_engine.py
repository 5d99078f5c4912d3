import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ashchat_dev import docker_engine, runc_without_sys_resource

HELD = ["CAP_CHOWN", "CAP_SYS_RESOURCE"]
PROCESS = {"args": ["sh"], "capabilities": {"bounding": HELD, "effective": HELD}}
WITHOUT = {"args": ["sh"], "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]}}


def test_runc_is_docker_s_own_runtime_where_nothing_is_missing() -> None:
    assert not [each for each in docker_engine.arguments(None) if "runtime" in each]


def test_the_runtime_without_the_capability_is_the_default() -> None:
    arguments = docker_engine.arguments(Path("/x"))
    assert f"--add-runtime={docker_engine.RUNTIME}=/x" in arguments
    assert f"--default-runtime={docker_engine.RUNTIME}" in arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--bundle", "{}", "id"],
        ["create", "--bundle={}", "id"],
        ["run", "-b", "{}", "id"],
    ],
)
def test_the_capability_is_removed_from_a_new_container(
    tmp_path: Path, arguments: list[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"ociVersion": "1.0.2", "process": PROCESS}))
    given = [each.format(tmp_path) for each in arguments]
    assert executed(tmp_path, given) == given
    assert json.loads(file.read_text()) == {"ociVersion": "1.0.2", "process": WITHOUT}


def test_the_capability_is_removed_from_a_process_in_a_container(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    file.write_text(json.dumps(PROCESS))
    given = ["exec", "--process", str(file), "id"]
    assert executed(tmp_path, given) == given
    assert json.loads(file.read_text()) == WITHOUT


def test_other_commands_are_passed_on(tmp_path: Path) -> None:
    assert executed(tmp_path, ["state", "id"]) == ["state", "id"]


def executed(folder: Path, arguments: list[str]) -> list[str]:
    """Run the program with a runc that prints its arguments."""
    runc = folder / "runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runc.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", runc_without_sys_resource.__file__, *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()
