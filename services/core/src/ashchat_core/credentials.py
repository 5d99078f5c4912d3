"""Credentials as files: a mounted Secret that is read again when it changes.

A Secret mount is swapped as a whole (a symlink is replaced), with a delay of up to a
minute (https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod).
Files are small and few, so comparing contents once a second is simpler than inotify, and
right on every file system.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from prometheus_client import Gauge

POLL_SECONDS = 1.0

_REVISION = Gauge(
    "ashchat_credential_revision_info",
    "The revision of each credential in use (never its value)",
    ["credential", "revision"],
)


class MissingCredential(Exception):
    """A credential file that the service needs is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"credential file {path} is missing")


class Credentials:
    """The credential folder of one service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._in_use: dict[str, str] = {}

    def text(self, name: str) -> str:
        """Return a credential's text without surrounding white space.

        Raises:
            MissingCredential: there is no such file.
        """
        path = self._folder / name
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise MissingCredential(path) from None

    def has(self, name: str) -> bool:
        """Tell whether a credential is there."""
        return (self._folder / name).is_file()

    def path(self, name: str) -> Path:
        """Return where a credential lies, for libraries that read files themselves."""
        return self._folder / name

    def revision(self, credential: str) -> str:
        """Return the opaque revision beside a credential ("rabbitmq", not a file name)."""
        return self.text(f"{credential}.revision") if self.has(f"{credential}.revision") else ""

    def use(self, credential: str) -> None:
        """Record that the client now uses the credential's present revision."""
        before = self._in_use.get(credential)
        now = self.revision(credential)
        if before is not None and before != now:
            _REVISION.remove(credential, before)
        self._in_use[credential] = now
        _REVISION.labels(credential, now).set(1)

    @property
    def in_use(self) -> dict[str, str]:
        """The revision in use of each credential; reported by /readyz."""
        return dict(self._in_use)

    async def watch(self, name: str, on_change: Callable[[], Awaitable[None]]) -> None:
        """Call `on_change` whenever the text of file `name` changes; runs until cancelled."""
        last = self.text(name) if self.has(name) else None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = self.text(name) if self.has(name) else None
            if now is not None and now != last:
                await on_change()
                last = now
