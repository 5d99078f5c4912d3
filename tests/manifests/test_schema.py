"""Every object is valid in the schema of each supported API server; unknown fields are errors."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from kubernetes_validate import utils

VERSIONS = ["1.34", "1.35", "1.36", "1.37"]
"""From the oldest version that the chart supports to the newest in the package."""

UNPUBLISHED = {"CustomResourceDefinition"}
"""Their schema is recursive, and not in the package; the e2e suite applies them."""


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """Cache the schemas: the package reads a whole version's schemas for every object."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield


def test_the_newest_is_among_them() -> None:
    assert VERSIONS[-1] == utils.major_minor(utils.latest_version())


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_valid(manifest: dict[str, Any], version: str) -> None:
    if manifest["kind"] not in UNPUBLISHED:
        # For a version it does not know the package uses an older one, and warns.
        assert utils.validate(manifest, version, strict=True) == version
