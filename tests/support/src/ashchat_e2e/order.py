"""The order of modules when several workers share them.

`durations.json` holds the seconds of each module in a recorded run. ASHCHAT_RECORD=1 rewrites it.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

DURATIONS: Final = Path(__file__).with_name("durations.json")
UNKNOWN_SECONDS: Final = 10.0


@cache
def durations() -> dict[str, float]:
    """Return the recorded seconds of each module, by its path below tests/e2e."""
    found: dict[str, float] = json.loads(DURATIONS.read_text())
    return found


def record(reports: Iterable[pytest.TestReport]) -> None:
    """Store how long each module took, by the reports of a whole run."""
    found: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        found[_name(Path(report.nodeid.partition("::")[0]))] += report.duration
    rounded = {name: round(seconds, 1) for name, seconds in sorted(found.items())}
    DURATIONS.write_text(json.dumps(rounded, indent=1) + "\n")


def sort(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return tests module by module, the slowest modules first."""
    modules: dict[Path, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.path, []).append(item)
    ordered = sorted(modules, key=lambda path: -_seconds(path))
    return [item for path in ordered for item in modules[path]]


def _seconds(path: Path) -> float:
    return durations().get(_name(path), UNKNOWN_SECONDS)


def _name(path: Path) -> str:
    return "/".join(path.parts[-2:])
