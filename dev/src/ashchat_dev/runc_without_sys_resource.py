#!/usr/bin/env python3
"""runc for machines without CAP_SYS_RESOURCE, to be used as a runtime of Docker.

Docker gives a privileged container every capability that it has heard of, and runc fails if the
machine lacks one. This program removes it from the container's configuration and executes runc.
Docker runs a copy of this file, which therefore imports the standard library only.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

CAPABILITY: Final = "CAP_SYS_RESOURCE"
RUNC: Final = "runc"
_BUNDLE: Final = frozenset({"--bundle", "-b"})
_PROCESS: Final = frozenset({"--process", "-p"})


def files(arguments: Sequence[str]) -> list[tuple[Path, bool]]:
    """Return the files in which runc's arguments describe a process.

    Returns:
        Each file, and whether it describes a whole container (config.json of the OCI runtime
        specification) and not just a process.
    """
    found: list[tuple[Path, bool]] = []
    for index, argument in enumerate(arguments):
        name, separator, value = argument.partition("=")
        if not separator:
            value = arguments[index + 1] if index + 1 < len(arguments) else ""
        if name in _BUNDLE:
            found.append((Path(value) / "config.json", True))
        elif name in _PROCESS:
            found.append((Path(value), False))
    return found


def without_capability(process: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a process that does not have the capability."""
    sets = process.get("capabilities") or {}
    kept = {name: [each for each in held if each != CAPABILITY] for name, held in sets.items()}
    return {**process, "capabilities": kept}


def main() -> None:
    """Remove the capability from the described processes, and execute runc."""
    arguments = sys.argv[1:]
    for file, whole in files(arguments):
        if file.exists():
            described = json.loads(file.read_text(encoding="utf-8"))
            if whole:
                described["process"] = without_capability(described["process"])
            else:
                described = without_capability(described)
            file.write_text(json.dumps(described), encoding="utf-8")
    os.execvp(RUNC, [RUNC, *arguments])  # noqa: S606 - replaces this process, as a wrapper does


if __name__ == "__main__":
    main()
