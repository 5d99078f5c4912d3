"""Where the version is repeated because it cannot be read from `ashchat_core`."""

import re
import tomllib
from importlib.metadata import version

import pytest
import yaml

from ashchat_core import __version__
from ashchat_dev.images import ROOT

CHART = ROOT / "charts" / "ashchat-operator"
MEMBERS = sorted(
    str(path.parent.relative_to(ROOT))
    for pattern in ("*/pyproject.toml", "*/*/pyproject.toml")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("member", [".", *MEMBERS])
def test_no_distribution_repeats_the_version(member: str) -> None:
    project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    if member != ".":
        assert version(project["name"]) == __version__


def test_the_chart_has_the_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {chart["version"], chart["appVersion"]} == {__version__}


@pytest.mark.parametrize(
    "page", ["charts/ashchat-operator/values.yaml", "docs/operations/install.md"]
)
def test_references_of_our_images_have_the_version(page: str) -> None:
    tags = re.findall(r"ashchat/[a-z]+:(\S+)", (ROOT / page).read_text())
    assert tags
    assert set(tags) == {__version__}
