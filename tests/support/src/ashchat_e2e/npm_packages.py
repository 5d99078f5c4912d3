"""Packages of npm that tests need: those of a package-lock.json, whose hashes npm checks."""

import asyncio
import shutil
from pathlib import Path

import pytest


async def install(folder: Path) -> Path:
    """Install the packages of a folder's package-lock.json, unless they are installed.

    Returns:
        The folder with the packages.
    """
    if shutil.which("npm") is None:
        pytest.fail("npm is not installed: install Node 20 or newer")
    packages = folder / "node_modules"
    installed, lock = packages / ".package-lock.json", folder / "package-lock.json"
    if installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return packages
    process = await asyncio.create_subprocess_exec(
        "npm",
        "ci",
        "--prefer-offline",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return packages
