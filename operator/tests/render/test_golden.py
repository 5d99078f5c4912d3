"""The rendered objects, compared with golden files that a reviewer can read.

After an intended change: UPDATE_GOLDEN=1 pytest operator/tests/render/test_golden.py, then read
the diff.
"""

import base64
import json
import os
from typing import Any

import pytest
import yaml

from ashchat_core import topology
from ashchat_core.topology import Service
from ashchat_operator.backends.base import Backend
from ashchat_operator.kube.apply import CHILD_KINDS
from ashchat_operator.render import platform, secrets
from ashchat_operator.render.edge import caddyfile
from ashchat_operator.render.pods import resources
from ashchat_operator.resource.model import AshChat, Resources
from ashchat_operator.resource.quantity import quantity
from ashchat_operator.resource.types import WORKLOADS
from operator_rendering import CONTEXT, GOLDEN, fixed_credentials, rendered, resource

VARIANTS = ("minimal", "everything", "external")


class Readable(yaml.SafeDumper):
    """Writes multi-line strings as block scalars."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Readable.add_representer(str, _text)


def readable(objects: list[dict[str, Any]]) -> str:
    """Return objects as YAML, with Secrets reduced to their keys."""
    shown = []
    for item in objects:
        if item["kind"] == "Secret":
            hidden = dict.fromkeys(item["data"], "hidden")
            shown.append({**item, "data": hidden})
        else:
            shown.append(json.loads(json.dumps(item).replace("\\t", "    ")))
    return yaml.dump_all(shown, Dumper=Readable, sort_keys=False, width=100)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_resource_renders_to_its_golden_file(name: str) -> None:
    path = GOLDEN / f"{name}.out.yaml"
    text = readable(rendered(name))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_rendered_kind_is_applied(name: str) -> None:
    assert {body["kind"] for body in rendered(name)} <= set(CHILD_KINDS)


@pytest.mark.parametrize("name", VARIANTS)
def test_rendering_twice_gives_the_same(name: str) -> None:
    assert rendered(name) == rendered(name)


def test_names_are_unique_and_every_workload_is_a_component() -> None:
    objects = rendered("everything")
    keys = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(keys) == len(set(keys))
    workloads = {
        item["metadata"]["labels"]["app.kubernetes.io/component"]
        for item in objects
        if item["kind"] in WORKLOADS
    }
    assert workloads == set(platform.components(resource("everything")))


def test_without_an_edge_nothing_of_it_is_rendered() -> None:
    ash = with_spec("minimal", {"exposure": {"type": "None"}})
    objects = platform.render(ash, CONTEXT, fixed_credentials(ash))
    assert not [item for item in objects if item["metadata"]["name"].endswith("-edge")]
    assert "edge" not in platform.components(ash)


def with_spec(name: str, changes: dict[str, Any]) -> AshChat:
    body = yaml.safe_load((GOLDEN / f"{name}.in.yaml").read_text())
    body["spec"] |= changes
    return AshChat.parse(body)


def test_only_a_changed_admin_password_restarts_a_backend() -> None:
    ash = resource("everything")
    before = fixed_credentials(ash)
    templates = [
        {
            item["metadata"]["name"]: item["spec"]["template"]
            for item in platform.render(ash, CONTEXT, credentials)
            if item["kind"] in WORKLOADS
        }
        for credentials in (before, changed_passwords(ash))
    ]
    changed = {name for name in templates[0] if templates[0][name] != templates[1][name]}
    assert changed == {f"demo-{backend}" for backend in Backend}


def changed_passwords(ash: AshChat) -> Any:
    from ashchat_operator.credentials.bundle import Generators, complete

    return complete(ash, {}, generators=Generators(password=lambda: "another-generated-password"))


def test_each_service_gets_only_the_credentials_it_needs() -> None:
    ash = resource("everything")
    credentials = fixed_credentials(ash)
    keys = {
        service: set(secrets.service_files(ash, service, credentials, CONTEXT))
        - {"username", "password"}
        for service in Service
    }
    rabbit = {"rabbitmq.uri", "rabbitmq.revision"}
    redis = {"redis.uri", "redis.revision"}
    mongo = {"mongodb.uri", "mongodb.revision"}
    counters = {"counters.uri", "counters.revision"}
    assert keys == {
        Service.AUTH: rabbit | redis | counters | mongo,
        Service.EMAIL: rabbit
        | redis
        | counters
        | {"code.key", "code.revision", "smtp.username", "smtp.password", "smtp.revision"}
        | {"smtp-ca.pem"},
        Service.CHAT: rabbit | redis | counters | mongo,
        Service.TRANSLATE: rabbit | redis | {"google.json", "google.revision", "google-ca.pem"},
        Service.STATIC: rabbit,
    }


def test_translations_and_counters_are_in_the_instance_that_evicts() -> None:
    ash = resource("minimal")
    credentials = fixed_credentials(ash)
    uri = {
        (service, name): files[f"{name}.uri"].decode()
        for service in (Service.AUTH, Service.EMAIL, Service.CHAT, Service.TRANSLATE)
        for files in [secrets.service_files(ash, service, credentials, CONTEXT)]
        for name in ("redis", "counters")
        if f"{name}.uri" in files
    }
    for service in (Service.AUTH, Service.EMAIL, Service.CHAT):
        assert "@small-redis.team.svc" in uri[service, "redis"]
        assert "@small-cache.team.svc" in uri[service, "counters"]
    assert "@small-cache.team.svc" in uri[Service.TRANSLATE, "redis"]


def test_no_secret_is_rendered_outside_a_secret() -> None:
    for item in rendered("everything"):
        if item["kind"] != "Secret":
            text = json.dumps(item)
            assert "generated-and-long-enough" not in text
            assert "PRIVATE KEY" not in text


def test_secrets_are_data_and_only_derived_ones_have_an_owner() -> None:
    owned = {}
    for item in rendered("everything"):
        if item["kind"] == "Secret":
            assert "stringData" not in item
            for value in item["data"].values():
                base64.b64decode(value, validate=True)
            owned[item["metadata"]["name"]] = "ownerReferences" in item["metadata"]
    assert {name for name, has_owner in owned.items() if has_owner} == {
        "demo-rabbitmq-definitions",
        "demo-redis-acl",
        "demo-cache-acl",
        "demo-edge-tls",
    }


def test_the_broker_starts_with_the_table_and_its_administrator_alone() -> None:
    (text,) = (
        base64.b64decode(item["data"]["definitions.json"])
        for item in rendered("minimal")
        if item["metadata"]["name"].endswith("-rabbitmq-definitions")
    )
    document = json.loads(text)
    assert [user["tags"] for user in document["users"]] == [["administrator"]]
    assert [each["user"] for each in document["permissions"]] == [document["users"][0]["name"]]
    assert [each["name"] for each in document["vhosts"]] == [topology.VHOST]
    for kind in ("exchanges", "queues", "policies", "bindings"):
        assert {each["vhost"] for each in document[kind]} == {topology.VHOST}
    assert [each["name"] for each in document["queues"]] == list(topology.queues())
    assert [each["name"] for each in document["exchanges"]] == list(topology.exchanges())
    assert len(document["policies"]) == len(topology.policies())
    assert len(document["bindings"]) == len(topology.bindings())


@pytest.mark.parametrize(
    ("written", "number"),
    [("512Mi", 2**29), ("1", 1), (2, 2), ("500m", 0.5), ("1.5Gi", 1.5 * 2**30), ("2k", 2000)],
)
def test_quantities(written: str | int, number: float) -> None:
    assert float(quantity(written)) == number


@pytest.mark.parametrize("written", ["", "abc", "1Xi", "1..2"])
def test_invalid_quantities_are_rejected(written: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        quantity(written)


def test_a_limit_below_the_default_request_lowers_the_request() -> None:
    defaults = {"requests": {"memory": "96Mi", "cpu": "20m"}, "limits": {"memory": "384Mi"}}
    assert resources(defaults, Resources(limits={"memory": "64Mi"})) == {
        "requests": {"memory": "64Mi", "cpu": "20m"},
        "limits": {"memory": "64Mi"},
    }


def test_the_edge_strips_prefixes_and_trusts_no_proxy() -> None:
    text = caddyfile(resource("minimal"), CONTEXT)
    assert "handle_path /auth/*" in text
    assert "handle_path /chat/*" in text
    assert "trusted_proxies" not in text
    assert "stream_close_delay" in text
    assert "Retry-After" in text
