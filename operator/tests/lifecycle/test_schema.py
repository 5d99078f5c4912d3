"""An older definition is detected by its revision."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ashchat_operator.kube.errors import ApiServerError
from ashchat_operator.lifecycle.schema import (
    REVISION,
    Schema,
    finding,
    outdated_status,
    revision,
    wrong_with,
)

CRD = Path(__file__).parents[3] / "crds" / "ashchat.dev_ashchats.yaml"


def document(description: str) -> dict[str, Any]:
    kind = {"group": "ashchat.dev", "version": "v1alpha1", "kind": "AshChat"}
    schema = {"description": description, "x-kubernetes-group-version-kind": [kind]}
    return {"components": {"schemas": {"dev.ashchat.v1alpha1.AshChat": schema, "other": {}}}}


def test_the_operators_revision_matches_both_copies_of_the_definition() -> None:
    crd = yaml.safe_load(CRD.read_text())
    assert crd["metadata"]["annotations"]["ashchat.dev/schema-revision"] == str(REVISION)
    (version,) = crd["spec"]["versions"]
    description = version["schema"]["openAPIV3Schema"]["description"]
    assert revision(document(description)) == REVISION


def test_a_document_without_revision_is_older_than_any() -> None:
    assert revision({}) == 0
    assert revision(document("A chat platform.")) == 0
    assert revision(document("It has Schema\nrevision 7.")) == 7


def test_an_older_or_missing_definition_is_reported_and_a_newer_one_is_accepted() -> None:
    for served in (0, REVISION - 1, None):
        assert "kubectl apply --server-side" in wrong_with(served)
    assert wrong_with(REVISION) == wrong_with(REVISION + 1) == ""
    assert finding("old")[:2] == ("False", "SchemaOutdated")
    assert finding("")[:2] == ("True", "UpToDate")


def test_the_rest_of_the_status_is_preserved() -> None:
    ready = {"type": "Ready", "status": "True"}
    body = {"metadata": {"generation": 2}, "status": {"url": "u", "conditions": [ready]}}
    said = outdated_status(body, "old", "now")
    assert said["url"] == "u"
    assert said["conditions"][0] == ready
    assert said["conditions"][1]["lastTransitionTime"] == "now"
    again = outdated_status({**body, "status": said}, "old", "later")
    assert again == said


class FakeApi:
    def __init__(self) -> None:
        self.answer: int | dict[str, Any] = 404

    async def document(self, _: str) -> dict[str, Any]:
        if isinstance(self.answer, int):
            raise ApiServerError(self.answer, "no")
        return self.answer


async def test_it_waits_for_a_definition_and_notices_each_change() -> None:
    api = FakeApi()
    schema = Schema(api)  # type: ignore[arg-type]
    assert schema.message, "nothing is known yet"
    await schema.check()
    assert "not installed" in schema.message
    api.answer = document(f"Schema revision {REVISION - 1}.")
    await schema.check()
    await schema.served()
    assert f"needs {REVISION}" in schema.message
    api.answer = document(f"Schema revision {REVISION}.")
    await schema.check()
    assert not schema.message


async def test_without_permission_to_read_it_nothing_is_blocked() -> None:
    api = FakeApi()
    schema = Schema(api)  # type: ignore[arg-type]
    api.answer = 403
    await schema.check()
    assert not schema.message
    api.answer = 500
    with pytest.raises(ApiServerError):
        await schema.check()
