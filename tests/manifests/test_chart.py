"""The chart: few rights, strict values, a definition that outlives it."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ashchat_operator.images import Images

ROOT = Path(__file__).parents[2]
Chart = Callable[..., list[dict[str, Any]]]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


def test_the_definition_is_the_repositorys_and_is_kept(rendered_chart: Chart) -> None:
    (crd,) = of_kind(rendered_chart(), "CustomResourceDefinition")
    source = ROOT / "crds" / "ashchat.dev_ashchats.yaml"
    assert crd == yaml.safe_load(source.read_text())
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_no_right_is_for_everything(rendered_chart: Chart) -> None:
    for role in of_kind(rendered_chart(), "ClusterRole"):
        for rule in role["rules"]:
            for part in ("apiGroups", "resources", "verbs"):
                assert "*" not in rule[part]
            assert "deletecollection" not in rule["verbs"]
            assert not {"pods/exec", "nodes", "namespaces"} & set(rule["resources"])


def test_with_namespaces_named_nothing_is_bound_beyond_them(rendered_chart: Chart) -> None:
    objects = rendered_chart("--set", "watchNamespaces={one,two}")
    assert not of_kind(objects, "ClusterRoleBinding")
    bound = {item["metadata"]["namespace"] for item in of_kind(objects, "RoleBinding")}
    assert bound == {"one", "two"}


def test_the_operator_reads_the_table_of_images(rendered_chart: Chart) -> None:
    (table,) = of_kind(rendered_chart(), "ConfigMap")
    images = Images.parse(table["data"]["images.yaml"])
    assert images["chat"]


def test_another_image_restarts_the_operator(rendered_chart: Chart) -> None:
    def annotations(*arguments: str) -> Any:
        (deployment,) = of_kind(rendered_chart(*arguments), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]

    assert annotations() != annotations("--set", "images.chat=other/chat:2")


@pytest.mark.parametrize(
    "setting",
    [
        "nonsense=1",
        "images.nonsense=x",
        "images.chat=",
        "logLevel=LOUD",
        "watchNamespaces={Not_A_Name}",
        "podCidrs={everywhere}",
    ],
)
def test_wrong_values_are_refused(rendered_chart: Chart, setting: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        rendered_chart("--set", setting)
    assert setting.partition("=")[0].partition(".")[0] in caught.value.stderr
