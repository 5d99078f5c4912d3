"""Installing packages, with dpkg and apt replaced by programs that note what they are asked."""

import stat
import threading
from pathlib import Path

import pytest

from ashchat_node import packages
from ashchat_node.paths import Paths
from ashchat_node.progress import SilentProgress

# Like apt's own lock: a second install while one runs fails at once.
_APT = """#!/bin/sh
case "$*" in *install*) ;; *) exit 0 ;; esac
mkdir "$HERE/busy" || exit 100
echo install >> "$HERE/asked"
sleep 0.2
touch "$HERE/installed"
rmdir "$HERE/busy"
"""

_DPKG_QUERY = """#!/bin/sh
if [ -e "$HERE/installed" ]; then echo "runc install ok installed"; fi
"""


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_two_that_install_at_once_run_apt_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "apt-get", _APT)
    _program(tmp_path / "dpkg-query", _DPKG_QUERY)
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    paths = Paths(log=tmp_path / "log", cache=tmp_path / "cache")
    failed: list[Exception] = []

    def install() -> None:
        try:
            packages.install(("runc",), SilentProgress(), paths)
        except Exception as error:  # noqa: BLE001 - the assertion below reports it
            failed.append(error)

    threads = [threading.Thread(target=install) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (tmp_path / "asked").read_text().splitlines() == ["install"]
