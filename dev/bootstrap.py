# ruff: noqa: INP001 (a script, not a package)
"""Creates .venv: uv from PyPI, everything from the hashed locks, our packages editable.

Uses the standard library only, because it runs before anything is installed. A second run only
hashes a few files.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv"
STAMP: Final = VENV / "ashchat-bootstrap"
LOCK: Final = ROOT / ".ashchat" / "bootstrap.lock"
LOCKS: Final = [ROOT / "requirements" / name for name in ("bootstrap.txt", "dev.txt")]
VERSION: Final = ROOT / "services" / "core" / "src" / "ashchat_core" / "__init__.py"
SERVICES: Final = ("core", "auth", "email", "chat", "translate", "static")
MEMBERS: Final = [
    *(f"services/{name}" for name in SERVICES),
    "operator",
    "cli",
    "node",
    "dev",
    "tests/support",
]
OLDEST: Final = (3, 11)


def key(inputs: Mapping[str, bytes], python: str) -> str:
    """Return a hash of everything that determines the content of .venv.

    Args:
        inputs: File name → content: the locks and the members' pyproject.toml.
        python: The version of the interpreter that .venv is made with.
    """
    digest = hashlib.sha256(f"{ROOT}\n{python}\n".encode())
    for name, content in sorted(inputs.items()):
        digest.update(f"{name}:{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()


def inputs() -> dict[str, bytes]:
    """Return the files that `key` hashes, and their content."""
    paths = [*LOCKS, VERSION, Path(__file__)]
    paths += [ROOT / member / "pyproject.toml" for member in MEMBERS]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def index_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return uv's variables for pip's index and certificate, if these are set."""
    names = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    return {uv: environ[pip] for pip, uv in names.items() if environ.get(pip) and uv not in environ}


def run(*arguments: str) -> None:
    """Run a command; show its output only if it fails."""
    done = subprocess.run(
        arguments,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **index_settings(os.environ), "NO_COLOR": "1"},
    )
    if done.returncode:
        sys.stderr.write(f"{done.stdout}{done.stderr}\nfailed: {' '.join(arguments[:6])} …\n")
        sys.stderr.write("PyPI must be reachable; then run make again: it continues here.\n")
        raise SystemExit(1)


def usable(python: Path) -> bool:
    """Return whether .venv has the Python that runs this script, and pip."""
    try:
        done = subprocess.run(
            [python, "-c", "import pip, sys; print(sys.version)"], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.stdout.decode().strip() == sys.version


def install() -> None:
    """Install what the locks require into .venv."""
    python = VENV / "bin" / "python"
    if not usable(python):
        if find_spec("ensurepip") is None:
            raise SystemExit(
                "This Python cannot make virtual environments: its ensurepip is missing "
                "(on Debian and Ubuntu: apt-get install python3-venv)."
            )
        venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--requirement", str(LOCKS[0]))  # fmt: skip
    uv = [str(python), "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
    run(*uv, "--require-hashes", "--requirement", str(LOCKS[1]))
    editable = [part for member in MEMBERS for part in ("--editable", str(ROOT / member))]
    run(*uv, "--no-deps", "--no-build-isolation", *editable)


def main() -> None:
    """Install if something has changed; of two concurrent runs, the second waits."""
    if sys.version_info < OLDEST:
        raise SystemExit("AshChat needs Python 3.11 or later; set PYTHON=python3.11 or similar.")
    wanted = key(inputs(), sys.version)
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.is_file() and STAMP.read_text() == wanted:
            return
        begun = time.monotonic()
        sys.stderr.write("tools: installing from the locks into .venv …\n")
        install()
        STAMP.write_text(wanted)
        sys.stderr.write(f"tools: ready ({time.monotonic() - begun:.1f} s)\n")


if __name__ == "__main__":
    main()
