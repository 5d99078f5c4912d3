"""Requests generated from each service's OpenAPI description: the running service conforms.

Valid and invalid requests; no response may be a server error, or one that the description does
not list (https://schemathesis.readthedocs.io).
"""

import asyncio
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ashchat_dev.environment import Environment
from ashchat_e2e.people import PersonFactory

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 8
"""Requests of each kind for each operation; limited to keep the suite fast."""

DESCRIPTIONS = {
    "auth": "/auth/openapi.json",
    "chat": "/chat/openapi.json",
    "static": "/files/openapi.json",
}


def operations(url: str) -> list[Any]:
    """Return every operation of a description."""
    results = list(schemathesis.openapi.from_url(url).get_all_operations())
    found = [result.ok() for result in results if isinstance(result, Ok)]
    assert found
    assert len(found) == len(results), f"{url} has an operation that cannot be read"
    return found


def ask(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    """Send requests of one kind to one operation, and check each response.

    Raises:
        schemathesis.errors.CheckFailed: The description does not list the response.
    """

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def once(case: Any) -> None:
        case.validate_response(case.call(headers=headers), checks=CHECKS)

    try:
        once()
    except Unsatisfiable:
        # Only for an operation without input: a request to it cannot be malformed.
        assert mode is GenerationMode.NEGATIVE


@pytest.mark.parametrize("service", DESCRIPTIONS)
async def test_the_running_service_conforms_to_its_description(
    where: Environment, person: PersonFactory, service: str
) -> None:
    found = await asyncio.to_thread(operations, f"{where.url}{DESCRIPTIONS[service]}")
    for operation in found:
        # A new user for each: some operations end sessions or delete accounts.
        ana = await person("Ana", "es")
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                await asyncio.to_thread(ask, operation, mode, ana.headers)
            except AssertionError as error:
                error.add_note(f"{operation.method.upper()} {operation.path}, {mode.value}")
                raise
