"""The AsyncAPI documents are valid by the schema that AsyncAPI publishes, and served."""

import json
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest
import pytest_asyncio

from ashchat_dev.asyncapi_files import DOCUMENTS, text
from ashchat_e2e import npm_packages

FOLDER = Path(__file__).parent / "asyncapi"
SCHEMA = "@asyncapi/specs/schemas/3.0.0-without-$id.json"


@pytest_asyncio.fixture(loop_scope="session")
async def validator() -> jsonschema_rs.Draft7Validator:
    """The published schema of AsyncAPI 3.0.0."""
    packages = await npm_packages.install(FOLDER)
    return jsonschema_rs.Draft7Validator(json.loads((packages / SCHEMA).read_text()))


def problems(validator: jsonschema_rs.Draft7Validator, document: Any) -> list[str]:
    """Return what is wrong with a document, and where."""
    return [
        f"{error.message} in {error.instance_path}" for error in validator.iter_errors(document)
    ]


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_document_is_valid(validator: jsonschema_rs.Draft7Validator, name: str) -> None:
    document = json.loads(text(name))
    assert not problems(validator, document)
    # The schema is strict enough to notice a mistake.
    operation = next(iter(document["operations"].values()))
    operation["action"] = "publish"
    assert problems(validator, document)


async def test_chat_serves_the_document_of_this_version(anybody: httpx2.AsyncClient) -> None:
    answer = await anybody.get("/chat/asyncapi.json")
    assert answer.status_code == httpx2.codes.OK
    assert answer.json() == DOCUMENTS["socket.json"]()
