# ruff: noqa: INP001 (a script, not a package)
"""Makes .venv: uv from PyPI, everything from the hashed locks, our own packages editable.

Only the standard library: this is what runs before anything is installed. A second run
costs a hash of a few files.
"""

import hashlib
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "ashchat-bootstrap"
LOCKS = [ROOT / "requirements" / name for name in ("bootstrap.txt", "dev.txt")]
SERVICES = ("core", "auth", "email", "chat", "translate", "static")
MEMBERS = [*(f"services/{name}" for name in SERVICES), "operator", "node", "dev"]
OLDEST = (3, 11)


def key() -> str:
    """Return a hash of all that decides what is in .venv."""
    digest = hashlib.sha256(f"{sys.version}\n{ROOT}\n".encode())
    for path in [*LOCKS, Path(__file__), *(ROOT / member / "pyproject.toml" for member in MEMBERS)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run(*arguments: str) -> None:
    """Run a command; its output is shown only when it fails."""
    done = subprocess.run(
        arguments, check=False, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}
    )
    if done.returncode:
        sys.stderr.write(f"{done.stdout}{done.stderr}\nfailed: {' '.join(arguments[:6])} …\n")
        sys.stderr.write("PyPI must be reachable; then run make again, it goes on from here.\n")
        raise SystemExit(1)


def main() -> None:
    """Bring .venv to what the locks say."""
    if sys.version_info < OLDEST:
        raise SystemExit("AshChat needs Python 3.11 or later; set PYTHON=python3.11 or similar.")
    wanted = key()
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    begun = time.monotonic()
    sys.stderr.write("tools: installing from the locks into .venv …\n")
    python = str(VENV / "bin" / "python")
    if not Path(python).exists():
        venv.EnvBuilder(with_pip=True).create(VENV)
    # isolated from a user's pip settings that would add packages of their own
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--require-hashes", "--requirement", str(LOCKS[0]))  # fmt: skip
    install = [python, "-m", "uv", "pip", "install", "--quiet", "--python", python]
    run(*install, "--require-hashes", "--requirement", str(LOCKS[1]))
    editable = [part for member in MEMBERS for part in ("--editable", str(ROOT / member))]
    run(*install, "--no-deps", "--no-build-isolation", *editable)
    STAMP.write_text(wanted)
    sys.stderr.write(f"tools: ready ({time.monotonic() - begun:.1f} s)\n")


if __name__ == "__main__":
    main()
