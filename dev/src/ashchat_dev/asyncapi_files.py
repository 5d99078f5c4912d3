"""Write docs/reference/asyncapi: the socket and the queues, as AsyncAPI documents.

    python -m ashchat_dev.asyncapi_files

A test compares the files with what this module generates.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from ashchat_chat.wire import asyncapi
from ashchat_core import queues_asyncapi
from ashchat_dev.images import ROOT

FOLDER: Final = ROOT / "docs" / "reference" / "asyncapi"

DOCUMENTS: Final[Mapping[str, Callable[[], dict[str, Any]]]] = {
    "socket.json": asyncapi.document,
    "queues.json": queues_asyncapi.document,
}


def text(name: str) -> str:
    """Return the text of a file."""
    return json.dumps(DOCUMENTS[name](), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file in DOCUMENTS:
        (FOLDER / file).write_text(text(file), encoding="utf-8")
