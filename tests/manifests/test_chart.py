"""The chart: minimal permissions, strict values, and a CRD that survives an uninstall."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ashchat_operator.resource.images import Images

ROOT = Path(__file__).parents[2]
Chart = Callable[..., list[dict[str, Any]]]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


def test_the_crd_is_the_repositorys_and_is_kept(rendered_chart: Chart) -> None:
    (crd,) = of_kind(rendered_chart(), "CustomResourceDefinition")
    source = ROOT / "crds" / "ashchat.dev_ashchats.yaml"
    assert crd == yaml.safe_load(source.read_text())
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_no_permission_is_a_wildcard(rendered_chart: Chart) -> None:
    objects = [*rendered_chart(), *rendered_chart("--set", "watchNamespaces={one}")]
    for role in [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]:
        for rule in role["rules"]:
            for part in ("apiGroups", "resources", "verbs"):
                assert "*" not in rule[part]
            assert "deletecollection" not in rule["verbs"]
            assert not {"pods/exec", "nodes", "namespaces"} & set(rule["resources"])


def test_with_named_namespaces_nothing_is_bound_outside_them(rendered_chart: Chart) -> None:
    objects = rendered_chart("--set", "watchNamespaces={one,two}", "--set", "crd.install=false")
    assert not [item for item in objects if "namespace" not in item["metadata"]]
    for kind in ("Role", "RoleBinding"):
        places = {item["metadata"]["namespace"] for item in of_kind(objects, kind)}
        assert places == {"one", "two", "ashchat-system"}
    (own,) = [x for x in of_kind(objects, "Role") if x["metadata"]["namespace"] == "ashchat-system"]
    assert {resource for rule in own["rules"] for resource in rule["resources"]} == {"leases"}
    (everywhere,) = of_kind(rendered_chart(), "ClusterRole")
    for role in of_kind(objects, "Role"):
        if role is not own:
            assert role["rules"] == everywhere["rules"]


def test_the_crd_can_be_managed_separately(rendered_chart: Chart) -> None:
    objects = rendered_chart("--set", "crd.install=false")
    assert not of_kind(objects, "CustomResourceDefinition")


def test_several_pods_have_a_budget_and_are_spread(rendered_chart: Chart) -> None:
    assert not of_kind(rendered_chart(), "PodDisruptionBudget")
    objects = rendered_chart("--set", "replicas=2")
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    (deployment,) = of_kind(objects, "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["replicas"] == 2
    selected = budget["spec"]["selector"]["matchLabels"]
    assert selected.items() <= template["metadata"]["labels"].items()
    assert "podAntiAffinity" in template["spec"]["affinity"]
    # Job pods are not pods of the operator's Deployment.
    for item in (*of_kind(objects, "Job"), *of_kind(objects, "Pod")):
        labels = item["spec"].get("template", item)["metadata"]["labels"]
        assert not selected.items() <= labels.items()


def test_monitoring_is_optional_and_complete(rendered_chart: Chart) -> None:
    kinds = {item["kind"] for item in rendered_chart()}
    assert not {"PodMonitor", "PrometheusRule"} & kinds
    objects = rendered_chart(
        "--set", "metrics.podMonitor.enabled=true", "--set", "metrics.podMonitor.labels.team=chat",
        "--set", "metrics.prometheusRule.enabled=true", "--set", "dashboard.enabled=true",
    )  # fmt: skip
    monitors = of_kind(objects, "PodMonitor")
    assert len(monitors) == 2
    assert {item["metadata"]["labels"]["team"] for item in monitors} == {"chat"}
    (rule,) = of_kind(objects, "PrometheusRule")
    files = ROOT / "charts" / "ashchat-operator" / "files"
    assert rule["spec"] == yaml.safe_load((files / "rules.yaml").read_text())
    (dashboard,) = [x for x in of_kind(objects, "ConfigMap") if "ashchat.json" in x["data"]]
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["ashchat.json"])["panels"]


def test_chart_test_and_uninstall_hook_run_with_the_operators_settings(
    rendered_chart: Chart,
) -> None:
    objects = rendered_chart()
    (deployment,) = of_kind(objects, "Deployment")
    (job,), (pod,) = of_kind(objects, "Job"), of_kind(objects, "Pod")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    operator = deployment["spec"]["template"]["spec"]
    for spec in (job["spec"]["template"]["spec"], pod["spec"]):
        assert spec["containers"][0]["image"] == operator["containers"][0]["image"]
        assert spec["securityContext"] == operator["securityContext"]
        assert spec["serviceAccountName"] == operator["serviceAccountName"]


def test_the_operator_reads_the_table_of_images(rendered_chart: Chart) -> None:
    (table,) = of_kind(rendered_chart(), "ConfigMap")
    images = Images.parse(table["data"]["images.yaml"])
    assert images["chat"]


def test_another_image_restarts_the_operator(rendered_chart: Chart) -> None:
    def annotations(*arguments: str) -> Any:
        (deployment,) = of_kind(rendered_chart(*arguments), "Deployment")
        return deployment["spec"]["template"]["metadata"]["annotations"]

    assert annotations() != annotations("--set", "images.chat=other/chat:2")


def test_an_unsupported_kubernetes_version_is_rejected(rendered_chart: Chart) -> None:
    assert rendered_chart("--kube-version", "1.34.0")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        rendered_chart("--kube-version", "1.33.9")
    assert "incompatible with Kubernetes v1.33.9" in caught.value.stderr


@pytest.mark.parametrize(
    "setting",
    [
        "nonsense=1",
        "images.nonsense=x",
        "images.chat=",
        "logLevel=LOUD",
        "watchNamespaces={Not_A_Name}",
        "watchNamespaces={team-*}",
        "watchNamespaces={!one}",
        "podCidrs={everywhere}",
        "excludeNamespaces={one,one}",
        "replicas=0",
        "replicas=4",
        "crd.keep=true",
        "resources.memory=1Gi",
        "metrics.podMonitor.interval=often",
        "metrics.enabled=true",
        "dashboard.labels.grafana_dashboard=true",
    ],
)
def test_invalid_values_are_rejected(rendered_chart: Chart, setting: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        rendered_chart("--set", setting)
    assert setting.partition("=")[0].partition(".")[0] in caught.value.stderr
