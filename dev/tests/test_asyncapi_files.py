"""docs/reference/asyncapi is what the code describes, and whole in itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ashchat_core.topology import QUEUES
from ashchat_dev.asyncapi_files import DOCUMENTS, FOLDER, text


def references(part: Any) -> Iterator[str]:
    """Return the targets of all references in a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)


def resolve(document: dict[str, Any], reference: str) -> Any:
    """Return what a reference points to (RFC 6901)."""
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_file_is_current(name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == text(name), "run: python -m ashchat_dev.asyncapi_files"


def test_no_other_file_lies_there() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_reference_has_a_target_and_every_component_a_use(name: str) -> None:
    document = json.loads(text(name))
    found = set(references(document))
    for reference in found:
        resolve(document, reference)
    for kind, parts in document["components"].items():
        for part in parts:
            assert f"#/components/{kind}/{part}" in found, part


def test_every_queue_has_a_publisher_and_a_consumer() -> None:
    document = DOCUMENTS["queues.json"]()
    for spec in QUEUES:
        channel = {"$ref": f"#/channels/{spec.name}"}
        body = {"$ref": f"#/channels/{spec.name}/messages/{spec.body.__name__}"}
        for action, service in (("send", spec.writer), ("receive", spec.reader)):
            (operation,) = [
                each
                for each in document["operations"].values()
                if (each["channel"], each["action"]) == (channel, action)
            ]
            assert operation["tags"] == [{"name": service.value}]
            assert operation["messages"] == [body]
            assert ("reply" in operation) is (spec.reply is not None)
