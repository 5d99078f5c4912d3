"""Credentials as files: a mounted Secret that is read again when it changes.

A Secret mount is replaced as a whole (by a symlink), with a delay of up to a minute
(https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod).
The files are small and few, so comparing their contents once a second is simpler than inotify,
and correct on every file system.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client import Gauge

POLL_SECONDS: Final = 1.0
"""How often the files are compared."""

_REVISION = Gauge(
    "ashchat_credential_revision_info",
    "The revision of each credential in use (never its value)",
    ["credential", "revision"],
)


class MissingCredentialError(Exception):
    """A required credential file is missing."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"credential file {path} is missing")


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential's text and its revision, read consistently."""

    text: str = field(repr=False)
    revision: str


class Credentials:
    """The credential folder of one service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._in_use: dict[str, str] = {}
        self._held: Counter[tuple[str, str]] = Counter()

    def text(self, name: str) -> str:
        """Return a credential's text without surrounding white space.

        Raises:
            MissingCredentialError: there is no such file.
        """
        path = self._folder / name
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise MissingCredentialError(path) from None

    def has(self, name: str) -> bool:
        """Return whether a credential file exists."""
        return (self._folder / name).is_file()

    def path(self, name: str) -> Path:
        """Return a credential's path, for libraries that read files themselves."""
        return self._folder / name

    def read(self, name: str) -> Credential:
        """Return the text of file `name` ("rabbitmq.uri") with the revision that belongs to it.

        A mount is replaced by one rename of the link `..data`, so both are read through one
        resolved link: a client must not report a newer revision than the one it uses.

        Raises:
            MissingCredentialError: there is no such file.
        """
        data = self._folder / "..data"
        snapshot = Credentials(data.resolve()) if data.exists() else self
        return Credential(snapshot.text(name), snapshot.revision(name.partition(".")[0]))

    def revision(self, credential: str) -> str:
        """Return the opaque revision of a credential ("rabbitmq", not a file name)."""
        return self.text(f"{credential}.revision") if self.has(f"{credential}.revision") else ""

    def use(self, credential: str, revision: str | None = None) -> None:
        """Record that the client now uses this revision, by default the current one."""
        before = self._in_use.get(credential)
        now = self.revision(credential) if revision is None else revision
        self._in_use[credential] = now
        _REVISION.labels(credential, now).set(1)
        if before is not None:
            self._remove_if_unused(credential, before)

    def hold(self, credential: str, revision: str) -> None:
        """Record that something still uses this revision after it was replaced.

        A rotation deletes a credential only once no pod reports it any more: a connection that
        finishes its work still needs its login.
        """
        self._held[credential, revision] += 1
        _REVISION.labels(credential, revision).set(1)

    def release(self, credential: str, revision: str) -> None:
        """Record that one holder of this revision no longer uses it."""
        self._held[credential, revision] -= 1
        self._remove_if_unused(credential, revision)

    def _remove_if_unused(self, credential: str, revision: str) -> None:
        held = self._held[credential, revision] > 0
        if not held and self._in_use.get(credential) != revision:
            del self._held[credential, revision]
            with contextlib.suppress(KeyError):  # it was never reported
                _REVISION.remove(credential, revision)

    @property
    def in_use(self) -> dict[str, str]:
        """The revision in use of each credential, reported by /readyz."""
        return dict(self._in_use)

    async def watch(
        self,
        name: str,
        on_change: Callable[[], Awaitable[None]],
        *,
        used: Credential | None = None,
    ) -> None:
        """Call `on_change` whenever file `name` or its revision changes; until cancelled.

        Args:
            name: The file.
            on_change: Called after a change.
            used: What was read from the file earlier, because it may have changed since.
        """
        last = self._peek(name) if used is None else used
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = self._peek(name)
            if now is not None and now != last:
                await on_change()
                last = now

    async def report(self, credential: str, revision: Callable[[], str]) -> None:
        """Report the revision of something outside the folder as it changes; until cancelled."""
        before: str | None = None
        while True:
            now = revision()
            if now != before:
                self.use(credential, now)
                before = now
            await asyncio.sleep(POLL_SECONDS)

    def _peek(self, name: str) -> Credential | None:
        try:
            return self.read(name)
        except (MissingCredentialError, OSError):  # or the mount is being replaced
            return None
