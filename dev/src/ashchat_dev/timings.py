"""How long each check took the last time it passed in this clone: .ashchat/timings.json."""

import json
from threading import Lock
from typing import Final

from ashchat_dev.images import ROOT

FILE: Final = ROOT / ".ashchat" / "timings.json"


_WRITING: Final = Lock()
"""Static checks and unit tests run concurrently in `make test`."""


def last(name: str) -> float | None:
    """Return the seconds of a check's last success; None if it has never passed here."""
    return _read().get(name)


def record(name: str, seconds: float) -> None:
    """Store how long a check took."""
    FILE.parent.mkdir(exist_ok=True)
    with _WRITING:
        text = json.dumps({**_read(), name: round(seconds, 1)}, indent=1, sort_keys=True)
        partial = FILE.with_suffix(".new")
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(FILE)


def _read() -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads(FILE.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found
