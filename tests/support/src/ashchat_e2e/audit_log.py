"""The API server's audit log: which client wrote what, as recorded by the server."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
"""The verbs that change something (https://kubernetes.io/docs/reference/access-authn-authz/)."""

Mark = dict[int, int]
"""Size in bytes of each file, by inode so that rotation loses nothing."""


class AuditLog:
    """The log's files in a local directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def available(self) -> bool:
        """Whether there is a log to read."""
        return any(self._folder.glob("*.log"))

    def mark(self) -> Mark:
        """Return the current end of the log."""
        return {
            file.stat().st_ino: file.stat().st_size for file in sorted(self._folder.glob("*.log"))
        }

    def since(
        self,
        mark: Mark,
        *,
        user: str | None = None,
        namespace: str | None = None,
        verbs: Collection[str] = WRITES,
    ) -> list[dict[str, Any]]:
        """Return the completed requests after a mark, by a user.

        Args:
            mark: From `mark()`.
            user: A part of the user's name; None for all users.
            namespace: The namespace of the objects written to; None for all.
            verbs: The verbs to include.
        """
        return [
            entry
            for entry in self._entries(mark)
            if entry.get("stage") == "ResponseComplete"
            and entry.get("verb") in verbs
            and (user is None or user in entry.get("user", {}).get("username", ""))
            and namespace in {None, entry.get("objectRef", {}).get("namespace")}
        ]

    def _entries(self, mark: Mark) -> Iterator[dict[str, Any]]:
        for file in sorted(self._folder.glob("*.log")):
            with file.open("rb") as lines:
                lines.seek(mark.get(file.stat().st_ino, 0))
                for line in lines:
                    # The last line may be incomplete.
                    if line.endswith(b"\n"):
                        yield json.loads(line)


def brief(entry: dict[str, Any]) -> str:
    """Return one line about an entry: verb, object, response code."""
    about = entry.get("objectRef", {})
    where = "/".join(
        part
        for part in (
            about.get("namespace"),
            about.get("resource"),
            about.get("name"),
            about.get("subresource"),
        )
        if part
    )
    return f"{entry.get('verb')} {where} → {entry.get('responseStatus', {}).get('code')}"
