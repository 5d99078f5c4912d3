"""The release tool changes every repeated version, and publishes every image of the chart."""

import shutil
from pathlib import Path

import pytest
import yaml

from ashchat_core import __version__
from ashchat_dev import release

ROOT = Path(__file__).parents[2]
VALUES = ROOT / "charts" / "ashchat-operator" / "values.yaml"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in release.REPEATED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_version_is_written_everywhere_and_nothing_else_changes(copy: Path) -> None:
    release.set_version("7.8.9-rc.1", copy)
    for name in release.REPEATED:
        before = (ROOT / name).read_text().splitlines()
        after = (copy / name).read_text().splitlines()
        changed = [new for old, new in zip(before, after, strict=True) if old != new]
        assert changed
        assert all("7.8.9-rc.1" in line for line in changed)
        assert __version__ not in "\n".join(after)


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0.dev1", "latest"])
def test_other_versions_are_rejected(version: str, copy: Path) -> None:
    with pytest.raises(ValueError, match="not a valid version"):
        release.set_version(version, copy)


def test_every_image_of_ours_in_the_chart_is_published() -> None:
    values = yaml.safe_load(VALUES.read_text())
    references = [values["image"], *values["images"].values()]
    ours = {each.partition(":")[0].rpartition("/")[2] for each in references if "/ashchat/" in each}
    assert {image["name"] for image in release.images()} == ours


def test_release_notes_are_the_section_of_the_version(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 0.2.0 (2030-02-02)\n\n### Added\n\n- New.\n\n"
        "## 0.1.0 (2030-01-01)\n\n- Old.\n"
    )
    assert release.notes("0.2.0", tmp_path) == "### Added\n\n- New.\n"
    with pytest.raises(ValueError, match=r"no section for 0\.3\.0"):
        release.notes("0.3.0", tmp_path)


def test_a_tag_must_have_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["check", "v0.0.0"]) == 1
    assert "the tag is v0.0.0" in capsys.readouterr().err
