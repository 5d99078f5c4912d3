"""Every object has the recommended labels, and every selector uses only immutable ones."""

from typing import Any

REQUIRED = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
}


def test_it_has_the_recommended_labels(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "CustomResourceDefinition":
        return  # shared by all releases
    labels = manifest["metadata"]["labels"]
    assert set(labels) >= REQUIRED
    if labels["app.kubernetes.io/managed-by"] == "ashchat-operator":
        assert set(labels) >= {"app.kubernetes.io/component", "app.kubernetes.io/part-of"}
    assert all(len(value) <= 63 for value in labels.values())


def test_a_selector_selects_its_own_pods(lasting: dict[str, Any]) -> None:
    selector = lasting["spec"]["selector"]["matchLabels"]
    pods = lasting["spec"]["template"]["metadata"]["labels"]
    assert selector.items() <= pods.items()
    # A version in a selector would make upgrades impossible.
    assert not {"app.kubernetes.io/version", "helm.sh/chart"} & set(selector)


def test_a_service_selects_one_component(manifest: dict[str, Any]) -> None:
    if manifest["kind"] == "Service":
        selector = manifest["spec"]["selector"]
        assert set(selector) == {
            "app.kubernetes.io/name",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/component",
        }
