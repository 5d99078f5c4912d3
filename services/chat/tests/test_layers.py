"""The rules import no I/O library: they are tested in milliseconds, whatever is down."""

import ast
from pathlib import Path

import pytest

import ashchat_chat

FOLDER = Path(ashchat_chat.__file__).parent
RULES = (
    "deletion", "holdback", "inbox", "languages", "limits", "log", "news", "phoenix", "ports",
    "presence", "revocations", "rooms",
    "sequence", "service",
)  # fmt: skip
IO = {"pymongo", "redis", "aio_pika", "httpx2", "fastapi", "starlette", "uvicorn", "websockets"}


@pytest.mark.parametrize("module", RULES)
def test_rules_import_no_io_library(module: str) -> None:
    tree = ast.parse((FOLDER / f"{module}.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & IO
