"""Every object is valid by the schema of each API server it may meet, unknown fields refused."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from kubernetes_validate import utils

VERSIONS = ["1.34", "1.35", "1.36", "1.37"]
"""From the oldest that the chart takes to the newest whose schema is in the package."""

UNPUBLISHED = {"CustomResourceDefinition"}
"""Their schema is recursive, and not in the package; the cluster suite applies it."""


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """Keep the schemas: the package reads those of a whole version for every object."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def test_the_newest_is_among_them() -> None:
    assert VERSIONS[-1] == utils.major_minor(utils.latest_version())


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid(manifest: dict[str, Any], version: str) -> None:
    if manifest["kind"] not in UNPUBLISHED:
        # What the package does not know it checks by an older version, and says so.
        assert utils.validate(manifest, version, strict=True) == version
