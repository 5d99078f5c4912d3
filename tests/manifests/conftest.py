"""Every object that AshChat or its chart creates in a cluster, for tests of one property each.

A test with the parameter `manifest` runs once per object, one with `pod` once per pod
specification. Objects come from the golden resources and from the chart, which the real Helm
renders if it is installed.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import operator_rendering

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "ashchat-operator"
NODE_TOOLS = Path("/var/cache/ashchat/bin")

Manifest = dict[str, Any]


@cache
def children() -> dict[str, list[Manifest]]:
    """Return the objects of the golden resources, including Secrets' values."""
    return {
        path.name.removesuffix(".in.yaml"): operator_rendering.rendered(
            path.name.removesuffix(".in.yaml")
        )
        for path in sorted(operator_rendering.GOLDEN.glob("*.in.yaml"))
    }


@cache
def helm() -> str | None:
    """Return the path of Helm if it is installed."""
    return shutil.which("helm") or shutil.which("helm", path=str(NODE_TOOLS))


@cache
def chart(*arguments: str) -> list[Manifest]:
    """Return the chart's rendered objects; empty without Helm."""
    program = helm()
    if program is None:
        return []
    done = subprocess.run(
        [program, "template", "ashchat-operator", str(CHART), "-n", "ashchat-system", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def manifests() -> dict[str, Manifest]:
    """Return all objects, keyed by a name for the test id."""
    named = {
        f"{variant}-{item['kind']}-{item['metadata']['name']}": item
        for variant, items in children().items()
        for item in items
    }
    for variant, arguments in {
        "chart": (),
        "namespaced-chart": ("--set", "watchNamespaces={one,two}"),
        "full-chart": ("--set", "replicas=2", "--set", "dashboard.enabled=true"),
    }.items():
        for item in chart(*arguments):
            where = item["metadata"].get("namespace", "cluster")
            named[f"{variant}-{item['kind']}-{where}-{item['metadata']['name']}"] = item
    return named


def pod_spec(item: Manifest) -> Manifest | None:
    """Return the pod specification in an object, if it has one."""
    if item["kind"] == "Pod":
        own: Manifest = item["spec"]
        return own
    if item["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
        spec: Manifest = item["spec"]["template"]["spec"]
        return spec
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once per object, or once per pod specification."""
    if "manifest" in metafunc.fixturenames:
        named = manifests()
        metafunc.parametrize("manifest", named.values(), ids=named.keys())
    if "workload" in metafunc.fixturenames:
        named = {name: item for name, item in manifests().items() if pod_spec(item) is not None}
        metafunc.parametrize("workload", named.values(), ids=named.keys())
    if "objects" in metafunc.fixturenames:
        metafunc.parametrize("objects", children().values(), ids=children().keys())


@pytest.fixture
def pod(workload: Manifest) -> Manifest:
    """Return a workload's pod specification."""
    spec = pod_spec(workload)
    assert spec is not None
    return spec


@pytest.fixture
def lasting(workload: Manifest) -> Manifest:
    """Return a workload with long-running pods; the test is skipped for Jobs."""
    if workload["kind"] in {"Job", "Pod"}:
        pytest.skip("runs to its end")
    return workload


@pytest.fixture
def containers(pod: Manifest) -> list[Manifest]:
    """Return a pod's containers, including init and sidecar containers."""
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.fixture
def rendered_chart() -> Any:
    """Return the function that renders the chart; the test is skipped without Helm.

    `make up` installs Helm: `make test` runs these tests again after it, and then a missing Helm
    is a failure.
    """
    if helm() is None:
        if os.environ.get("ASHCHAT_URL"):
            pytest.fail("a cluster is up, but there is no helm")
        pytest.skip("no helm before `make up`")
    return chart
