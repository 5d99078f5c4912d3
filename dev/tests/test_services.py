"""Lists of the services that cannot import `ashchat_core.topology`, compared with it."""

import importlib.util
import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from ashchat_core.topology import SERVICES, Service
from ashchat_dev.images import ROOT

NAMES = {service.value for service in Service}
PACKAGES = {f"ashchat_{name}" for name in NAMES}
CHART = ROOT / "charts" / "ashchat-operator"


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_table_has_every_service_once() -> None:
    assert [spec.name for spec in SERVICES] == list(Service)


def test_every_service_has_a_folder_a_distribution_and_a_lock() -> None:
    folders = {path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml")}
    assert folders == {"core", *NAMES}
    for name in NAMES:
        assert (ROOT / "services" / name / "src" / f"ashchat_{name}" / "main.py").is_file()
        assert (ROOT / "requirements" / f"{name}.txt").is_file()


def test_the_bootstrap_script_lists_every_service() -> None:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "dev" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    assert set(bootstrap.SERVICES) == {"core", *NAMES}


def test_the_lock_script_lists_every_service() -> None:
    script = (ROOT / "requirements" / "compile.sh").read_text()
    loops = {
        name: set(words.split())
        for name, words in re.findall(r"^for (\w+) in (.*);", script, re.MULTILINE)
    }
    projects = [*ROOT.glob("*/pyproject.toml"), *ROOT.glob("*/*/pyproject.toml")]
    names = [tomllib.loads(path.read_text())["project"]["name"] for path in projects]
    assert loops["service"] == NAMES
    assert loops["name"] == {name.removeprefix("ashchat-") for name in names}


def test_the_workspace_lists_every_service(project: dict[str, Any]) -> None:
    distributions = {f"ashchat-{name}" for name in NAMES}
    assert distributions <= set(project["project"]["dependencies"])
    assert distributions <= set(project["tool"]["uv"]["sources"])
    sources = {f"services/{name}/src" for name in NAMES}
    assert sources <= set(project["tool"]["mypy"]["mypy_path"])
    tests = {f"services/{name}/tests" for name in NAMES}
    assert tests <= set(project["tool"]["pytest"]["testpaths"])


def test_the_layers_cover_every_service(project: dict[str, Any]) -> None:
    linter = project["tool"]["importlinter"]
    contracts = {contract["type"]: contract for contract in reversed(linter["contracts"])}
    (core,) = (
        contract
        for contract in linter["contracts"]
        if contract.get("source_modules") == ["ashchat_core"]
    )
    assert set(linter["root_packages"]) >= PACKAGES
    assert set(contracts["independence"]["modules"]) >= PACKAGES
    assert set(core["forbidden_modules"]) >= PACKAGES


def test_the_chart_has_an_image_for_every_service() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values["images"]) >= NAMES
    images = schema["properties"]["images"]
    assert set(images["properties"]) >= NAMES
    assert set(images["required"]) >= NAMES
