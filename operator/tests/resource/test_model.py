"""The model matches the CRD's schema: fields, defaults, enumerations."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
import yaml

from ashchat_core.api.names import API_VERSION, KIND, PLURAL
from ashchat_operator.resource.model import AshChat, Model, Spec
from operator_rendering import resource

CRD = Path(__file__).parents[3] / "crds" / "ashchat.dev_ashchats.yaml"
DEFINITION = yaml.safe_load(CRD.read_text())
WHOLE = DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
SCHEMA = WHOLE["spec"]

Path_ = tuple[str, ...]


def schema_fields(schema: dict[str, Any], path: Path_ = ()) -> dict[Path_, dict[str, Any]]:
    """Return every field of a schema by its path."""
    found: dict[Path_, dict[str, Any]] = {}
    schema = schema.get("items", schema)
    for name, inner in schema.get("properties", {}).items():
        found[*path, name] = inner
        found |= schema_fields(inner, (*path, name))
    return found


def inner_type(annotation: Any, kind: type) -> Any:
    """Return the class in an annotation such as `Google | None`."""
    candidates = (annotation, *get_args(annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, kind)), None)


def model_fields(model: type[Model], path: Path_ = ()) -> dict[Path_, Any]:
    """Return every field of a model by its path in the resource."""
    found: dict[Path_, Any] = {}
    for field in model.model_fields.values():
        assert field.alias is not None
        here = (*path, field.alias)
        found[here] = field
        inner = inner_type(field.annotation, Model)
        if inner is not None:
            found |= model_fields(inner, here)
    return found


FIELDS = model_fields(Spec)


def test_the_names_match_the_definition() -> None:
    spec = DEFINITION["spec"]
    assert f"{spec['group']}/{spec['versions'][0]['name']}" == API_VERSION
    assert spec["names"]["kind"] == KIND
    assert spec["names"]["plural"] == PLURAL


def test_the_only_version_is_served_and_stored() -> None:
    (version,) = DEFINITION["spec"]["versions"]
    assert version["name"] == "v1alpha1"
    assert version["served"] is True
    assert version["storage"] is True


def test_the_status_is_a_subresource() -> None:
    assert DEFINITION["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_the_definition_has_a_short_name_and_categories() -> None:
    names = DEFINITION["spec"]["names"]
    assert names["shortNames"] == ["ac"]
    assert names["categories"] == ["all", "ashchat"]


def test_kubectl_shows_readiness_address_and_age() -> None:
    columns = DEFINITION["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if not column.get("priority")]
    assert shown == ["Ready", "Reason", "URL", "Version", "Components", "Age"]


def test_every_column_shows_an_existing_field() -> None:
    fields = schema_fields({"properties": WHOLE})
    for column in DEFINITION["spec"]["versions"][0]["additionalPrinterColumns"]:
        # Brackets select an item of a list. A column with an unknown path would be empty.
        path = tuple(re.sub(r"\[[^]]*\]", "", column["jsonPath"]).split(".")[1:])
        assert path in {*fields, ("metadata", "creationTimestamp")}, column["name"]


def test_the_model_has_the_schemas_fields() -> None:
    assert set(FIELDS) == set(schema_fields(SCHEMA))


@pytest.mark.parametrize("path", sorted(schema_fields(SCHEMA)), ids=".".join)
def test_fields_without_a_default_are_required_or_optional_in_both(path: Path_) -> None:
    parent = SCHEMA
    for name in path[:-1]:
        parent = parent["properties"][name]
        parent = parent.get("items", parent)
    field = FIELDS[path]
    assert (path[-1] in parent.get("required", [])) == field.is_required()


def defaulted(schema: dict[str, Any], value: Any) -> Any:
    """Fill in defaults as the API server does, from the root to the leaves."""
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    filled = dict(value)
    for name, inner in schema["properties"].items():
        if name not in filled and "default" in inner:
            filled[name] = inner["default"]
        if name in filled:
            filled[name] = defaulted(inner, filled[name])
    return filled


LEAST = {"email": {"smtp": {"host": "h", "from": "a@b"}}}
GOOGLE = {"translate": {"google": {"project": "p", "credentialsSecretRef": {"name": "s"}}}}


@pytest.mark.parametrize("given", [LEAST, {**LEAST, **GOOGLE}])
def test_the_models_defaults_are_the_schemas(given: dict[str, Any]) -> None:
    by_schema = Spec.model_validate(defaulted(SCHEMA, given))
    assert by_schema == Spec.model_validate(given)
    # Every default is in the schema, so that `kubectl get -o yaml` shows it.
    dumped = by_schema.model_dump(by_alias=True, exclude_none=True, mode="json")
    filled = defaulted(SCHEMA, given)

    def same(model: Any, schema: Any, path: str = "spec") -> None:
        if isinstance(model, dict):
            for key, value in model.items():
                if key == "resources":
                    continue  # empty: the operator's default requests and limits
                same(value, schema[key], f"{path}.{key}")
        else:
            assert model == schema, path

    same(dumped, filled)


@pytest.mark.parametrize("path", sorted(schema_fields(SCHEMA)), ids=".".join)
def test_enumerations_are_the_same(path: Path_) -> None:
    members = inner_type(FIELDS[path].annotation, StrEnum)
    schema = schema_fields(SCHEMA)[path]
    listed = schema.get("items", schema).get("enum")
    assert listed == (None if members is None else [member.value for member in members])


def test_every_field_has_a_description() -> None:
    for path, schema in schema_fields(SCHEMA).items():
        if path[-1] not in {"managed", "name", "requests", "limits"}:
            assert schema.get("description"), ".".join(path)


SECRET = re.compile("password|passphrase|token|credential|secret|key", re.IGNORECASE)
NUMBERS = {
    ("auth", "accessTokenMinutes"),
    ("auth", "limits", "strangerPasswordsPerHour"),
    ("auth", "limits", "wrongPasswordsPerNetworkPerHour"),
    ("auth", "limits", "wrongPasswordsPerQuarter"),
}
"""Named for a secret, and say how long one is good for, or how many may be tried."""


def test_no_field_accepts_a_secret_in_plain_text() -> None:
    named = {
        path: field for path, field in schema_fields(SCHEMA).items() if SECRET.search(path[-1])
    }
    assert {path[-1] for path in named} >= {
        "caSecretRef",
        "certificateSecretRef",
        "connectionSecretRef",
        "credentialsSecretRef",
    }
    for path, field in named.items():
        if path in NUMBERS:
            assert field["type"] == "integer", ".".join(path)
        else:
            # Only the name of a Secret, because its keys are fixed.
            assert field["type"] == "object", ".".join(path)
            assert set(field["properties"]) == {"name"}, ".".join(path)
            assert "additionalProperties" not in field, ".".join(path)
            assert "x-kubernetes-preserve-unknown-fields" not in field, ".".join(path)


def test_every_rule_has_a_message() -> None:
    rules = [
        rule
        for schema in schema_fields(SCHEMA).values()
        for rule in schema.get("x-kubernetes-validations", [])
    ]
    assert rules
    assert all(len(rule["message"].split()) >= 4 for rule in rules)


def test_a_model_is_immutable() -> None:
    ash = resource("minimal")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        ash.spec.public_url = "x"  # type: ignore[misc]


def test_a_field_of_a_newer_schema_is_ignored() -> None:
    body = {
        "metadata": {"name": "a", "namespace": "b", "uid": "c", "generation": 1},
        "spec": {**LEAST, "yetToCome": {"x": 1}},
    }
    assert AshChat.parse(body).spec == Spec.model_validate(LEAST)
