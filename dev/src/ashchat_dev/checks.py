"""What `make test` runs, in the order in which it fails fastest."""

import os
import subprocess
import sys
import time
from typing import Final

from ashchat_dev.images import ROOT

BIN: Final = ROOT / ".venv" / "bin"
SOURCES: Final = ("operator", "node", "dev", "services", "tests")

LINT: Final = (
    ("format", ("ruff", "format", "--check", "--quiet", ".")),
    ("ruff", ("ruff", "check", "--quiet", ".")),
    ("types", ("mypy", *SOURCES)),
    ("layers", ("lint-imports", "--no-cache")),
)
UNIT: Final = (("unit tests and manifests", ("python", "-m", "pytest", "--quiet")),)
CLUSTER: Final = (
    ("the suite in the cluster", ("python", "-m", "pytest", "--quiet", "tests/cluster")),
)


def run(checks: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
    """Run checks one after the other, their output as it comes; return whether all passed."""
    passed = True
    for name, (program, *arguments) in checks:
        begun = time.monotonic()
        print(f"> {name}", flush=True)
        done = subprocess.run(
            [str(BIN / program), *arguments], cwd=ROOT, check=False, env=dict(os.environ)
        )
        mark = "+" if done.returncode == 0 else "x"
        print(f"{mark} {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        sys.stdout.flush()
        passed = passed and done.returncode == 0
    return passed
