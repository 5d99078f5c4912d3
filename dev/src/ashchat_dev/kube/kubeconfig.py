"""An HTTP client from a kubeconfig file."""

import base64
import ssl
import tempfile
from pathlib import Path
from typing import Any

import httpx2
import yaml

Object = dict[str, Any]


def client(kubeconfig: Path) -> httpx2.AsyncClient:
    """Return a client of the current context's API server that authenticates as its user."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    context = _named(config["contexts"], config["current-context"])["context"]
    server = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    trust = ssl.create_default_context(
        cafile=server.get("certificate-authority"),
        cadata=_text(server.get("certificate-authority-data")),
    )
    headers = {}
    if "token" in user:
        headers["Authorization"] = f"Bearer {user['token']}"
    else:
        with tempfile.TemporaryDirectory() as folder:
            # ssl loads a client certificate from files only.
            files = {
                what: _file(user, f"client-{what}", Path(folder)) for what in ("certificate", "key")
            }
            trust.load_cert_chain(files["certificate"], files["key"])
    return httpx2.AsyncClient(
        base_url=server["server"], verify=trust, headers=headers, timeout=30, trust_env=False
    )


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)


def _text(data: str | None) -> str | None:
    return base64.b64decode(data).decode() if data else None


def _file(user: Object, key: str, folder: Path) -> Path:
    if key in user:
        return Path(user[key])
    path = folder / key
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(user[f"{key}-data"]))
    return path
