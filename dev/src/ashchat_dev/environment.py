"""Where AshChat is: read from the environment, else from `.ashchat/env` that `make up` wrote."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENV_FILE: Final = Path(".ashchat") / "env"
"""Relative to the clone: KEY=VALUE lines, `#` comments, values without quotes needed."""


class NotConfiguredError(RuntimeError):
    """No AshChat is configured; the message says what to do."""


@dataclass(frozen=True)
class Environment:
    """The addresses that a user or a test needs.

    `kubeconfig` is missing if only the URL is known: the conversation works without it,
    inspecting the cluster does not.
    """

    url: str
    mailbox_url: str
    kubeconfig: Path | None = None
    kubectl: str = "kubectl"
    namespace: str = "ashchat"
    """The AshChat's namespace."""
    audit_log_dir: Path = Path("/var/log/ashchat-node/audit")
    """Where on this machine the API server's audit log is, if anywhere."""

    @property
    def socket_url(self) -> str:
        """The address of the chat socket (Phoenix's transport path included)."""
        scheme, _, rest = self.url.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}/chat/socket/websocket"


def read_env_file(path: Path) -> dict[str, str]:
    """Return the KEY=VALUE pairs of a file; quotes around a value and `export` are dropped."""
    pairs: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip().removeprefix("export ")
        key, separator, value = text.partition("=")
        if separator and not text.startswith("#"):
            pairs[key.strip()] = value.strip().strip("\"'")
    return pairs


def find_env_file(start: Path) -> Path | None:
    """Return the nearest `.ashchat/env` in `start` or above it."""
    for folder in (start, *start.parents):
        candidate = folder / ENV_FILE
        if candidate.is_file():
            return candidate
    return None


def load(environ: Mapping[str, str] | None = None, start: Path | None = None) -> Environment:
    """Return where AshChat is.

    Args:
        environ: The process environment, which takes precedence over the file.
        start: The folder to look for `.ashchat/env` from, upwards.

    Raises:
        NotConfiguredError: ASHCHAT_URL or MAILBOX_URL is set in neither.
    """
    said = dict(os.environ if environ is None else environ)
    file = find_env_file(start or Path.cwd()) or find_env_file(Path(__file__).resolve().parent)
    if file is not None:
        said = {**read_env_file(file), **said}
    missing = [key for key in ("ASHCHAT_URL", "MAILBOX_URL") if not said.get(key)]
    if missing:
        raise NotConfiguredError(
            f"{' and '.join(missing)} not set, and not in {ENV_FILE}: "
            "run `make up` first, or set them to AshChat's and Mailpit's addresses."
        )
    kubeconfig = said.get("KUBECONFIG", "")
    return Environment(
        url=said["ASHCHAT_URL"].rstrip("/"),
        mailbox_url=said["MAILBOX_URL"].rstrip("/"),
        kubeconfig=Path(kubeconfig).expanduser() if kubeconfig else None,
        kubectl=said.get("KUBECTL") or "kubectl",
        namespace=said.get("ASHCHAT_NAMESPACE") or Environment.namespace,
        audit_log_dir=Path(said.get("AUDIT_LOG_DIR") or Environment.audit_log_dir),
    )
