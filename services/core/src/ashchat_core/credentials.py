"""Credentials as files: a mounted Secret that is read again when it changes.

A Secret mount is swapped as a whole (a symlink is replaced), with a delay of up to a
minute (https://kubernetes.io/docs/concepts/configuration/secret/#using-secrets-as-files-from-a-pod).
Files are small and few, so comparing contents once a second is simpler than inotify, and
right on every file system.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential's text and its revision, both from the same moment."""

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

    def read(self, name: str) -> Credential:
        """Return the text of file `name` ("rabbitmq.uri") with the revision that belongs to it.

        A mount is swapped by one rename of the link `..data`, so both are read behind one
        resolved link: a client must not report a newer revision than the one it uses.

        Raises:
            MissingCredential: there is no such file.
        """
        data = self._folder / "..data"
        moment = Credentials(data.resolve()) if data.exists() else self
        return Credential(moment.text(name), moment.revision(name.partition(".")[0]))

    def revision(self, credential: str) -> str:
        """Return the opaque revision beside a credential ("rabbitmq", not a file name)."""
        return self.text(f"{credential}.revision") if self.has(f"{credential}.revision") else ""

    def use(self, credential: str, revision: str | None = None) -> None:
        """Record that the client now uses this revision, by default the present one."""
        before = self._in_use.get(credential)
        now = self.revision(credential) if revision is None else revision
        self._in_use[credential] = now
        _REVISION.labels(credential, now).set(1)
        if before is not None:
            self._unless_used(credential, before)

    def hold(self, credential: str, revision: str) -> None:
        """Record that something still uses this revision, whatever comes in its place.

        A rotation takes a credential away only when no pod reports it any more: a connection
        that ends what it has in hand still needs its login.
        """
        self._held[credential, revision] += 1
        _REVISION.labels(credential, revision).set(1)

    def release(self, credential: str, revision: str) -> None:
        """Record that one holder of this revision does not use it any more."""
        self._held[credential, revision] -= 1
        self._unless_used(credential, revision)

    def _unless_used(self, credential: str, revision: str) -> None:
        held = self._held[credential, revision] > 0
        if not held and self._in_use.get(credential) != revision:
            del self._held[credential, revision]
            with contextlib.suppress(KeyError):  # it was never reported
                _REVISION.remove(credential, revision)

    @property
    def in_use(self) -> dict[str, str]:
        """The revision in use of each credential; reported by /readyz."""
        return dict(self._in_use)

    async def watch(
        self,
        name: str,
        on_change: Callable[[], Awaitable[None]],
        *,
        used: Credential | None = None,
    ) -> None:
        """Call `on_change` whenever file `name` or its revision changes; runs until cancelled.

        `used` is what was read of it before, if it was: it may have changed since.
        """
        last = self._peek(name) if used is None else used
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = self._peek(name)
            if now is not None and now != last:
                await on_change()
                last = now

    async def report(self, credential: str, revision: Callable[[], str]) -> None:
        """Report what is not a file of this folder, as it changes; runs until cancelled."""
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
        except (MissingCredential, OSError):  # or it is being swapped right now
            return None
