"""Helps to release: sets the version, lists the images. Usage: `python -m ashchat_dev.release`."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ashchat_core import __version__
from ashchat_dev.images import BACKENDS, OURS, ROOT, Image

VERSION: Final = re.compile(r"\d+\.\d+\.\d+(?:-(?:alpha|beta|rc)\.\d+)?")
"""Versions that Python, Helm and image tags understand alike."""

REPEATED: Final = {
    "services/core/src/ashchat_core/__init__.py": r'(?<=^__version__ = ")[^"]+',
    "charts/ashchat-operator/Chart.yaml": r"(?<=^version: ).+|(?<=^appVersion: ).+",
    "charts/ashchat-operator/values.yaml": r"(?<=ashchat/)(?P<name>[a-z]+:)\S+",
    "docs/operations/install.md": r"(?<=ashchat/)(?P<name>[a-z]+:)\S+",
}
"""The version in each file that repeats it; `name` is kept."""

DOCUMENTDB_BASE: Final = "docker.io/library/debian:sid-slim"


def set_version(version: str, root: Path = ROOT) -> None:
    """Write a version to every file that repeats it.

    Raises:
        ValueError: It is not a valid version, or a file does not contain one.
    """
    if not VERSION.fullmatch(version):
        raise ValueError(f"{version} is not a valid version: use X.Y.Z or X.Y.Z-rc.N")

    def replaced(match: re.Match[str]) -> str:
        return f"{match.groupdict().get('name') or ''}{version}"

    for name, pattern in REPEATED.items():
        text, count = re.subn(pattern, replaced, (root / name).read_text(), flags=re.MULTILINE)
        if not count:
            raise ValueError(f"{name} contains no version")
        (root / name).write_text(text)


def images() -> list[dict[str, Any]]:
    """Return the images to publish: name, Containerfile, and build arguments as lines."""
    documentdb = next(image for image in BACKENDS if image.name == "documentdb")
    return [
        *(_entry(image, dict(image.args)) for image in OURS),
        _entry(documentdb, {"BASE": DOCUMENTDB_BASE}),
    ]


def _entry(image: Image, arguments: dict[str, str]) -> dict[str, Any]:
    return {
        "name": image.name,
        "containerfile": image.containerfile,
        "arguments": " ".join(f"--build-arg={key}={value}" for key, value in arguments.items()),
    }


def notes(version: str, root: Path = ROOT) -> str:
    """Return the section of the changelog about a version.

    Raises:
        ValueError: There is none.
    """
    sections = re.split(r"^## ", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    for section in sections[1:]:
        if section.startswith(f"{version} "):
            return section.partition("\n")[2].strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no section for {version}: run towncrier build")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; return 1 if it fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(". ")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("set", help="write a version to every file").add_argument("version")
    commands.add_parser("check", help="compare a tag").add_argument("tag")
    commands.add_parser("notes", help="print the changelog of a version").add_argument("version")
    commands.add_parser("images", help="print the images as JSON, for the release workflow")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(_run(options))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run(options: argparse.Namespace) -> str:
    match options.command:
        case "set":
            set_version(options.version)
            return ""
        case "check":
            if options.tag != f"v{__version__}":
                raise ValueError(f"the tag is {options.tag}, but the version is {__version__}")
            notes(__version__)
            return f"{__version__}\n"
        case "notes":
            return notes(options.version)
        case _:
            return json.dumps(images()) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
