import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ashchat_dev.images import (
    ALL,
    BACKENDS,
    OURS,
    ROOT,
    ContainerfileError,
    Image,
    Sources,
    content_tag,
    copied,
    snapshot,
)

RECIPE = (
    "ARG BASE\nFROM ${BASE}\nCOPY requirements.txt /r.txt\nCOPY --chown=1:1 src other /opt/src/\n"
)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "Containerfile").write_text(RECIPE)
    (tmp_path / "requirements.txt").write_text("a==1\n")
    for folder in ("src", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "main.py").write_text("print()\n")
    return Sources(tmp_path)


IMAGE = Image("x", "Containerfile")


def test_the_tag_is_that_of_the_content(sources: Sources) -> None:
    tag = sources.tag(IMAGE, "base-1")
    assert re.fullmatch(r"[0-9a-f]{16}", tag)
    assert sources.tag(IMAGE, "base-1") == tag
    assert sources.tag(IMAGE, "base-2") != tag


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "Containerfile").write_text(RECIPE + "USER 1\n"),
        lambda root: (root / "requirements.txt").write_text("a==2\n"),
        lambda root: (root / "src/main.py").write_text("print(1)\n"),
        lambda root: (root / "src/new.py").touch(),
        lambda root: (root / "src/main.py").rename(root / "src/other.py"),
        lambda root: (root / "other/main.py").chmod(0o755),
    ],
    ids=["recipe", "lock", "edit", "new file", "renamed", "executable"],
)
def test_any_change_of_what_goes_in_changes_the_tag(
    sources: Sources, change: Callable[[Path], object]
) -> None:
    before = sources.tag(IMAGE)
    change(sources.root)
    assert sources.tag(IMAGE) != before


def test_what_does_not_go_in_changes_nothing(sources: Sources) -> None:
    before = sources.tag(IMAGE)
    (sources.root / "README.md").touch()
    (sources.root / "src/__pycache__").mkdir()
    (sources.root / "src/__pycache__/main.pyc").touch()
    assert sources.tag(IMAGE) == before


def test_parts_do_not_run_together() -> None:
    assert content_tag(["ab", "c"], []) != content_tag(["a", "bc"], [])


def test_sources_are_those_of_the_copy_lines() -> None:
    assert copied(RECIPE) == ["requirements.txt", "src", "other"]
    assert copied("COPY --from=build /x /y\n") == []


def test_build_arguments_are_filled_in_and_change_the_tag(sources: Sources) -> None:
    recipe = "COPY ${PART}/${PART}.txt /x\n"
    assert copied(recipe, {"PART": "a"}) == ["a/a.txt"]
    images = [Image("x", "Containerfile", args={"PART": part}) for part in "ab"]
    assert len({sources.tag(image) for image in (IMAGE, *images)}) == 3


@pytest.mark.parametrize("line", ["COPY src/*.py /x/", "COPY a \\\n  /x", "COPY $A /x"])
def test_an_unclear_copy_line_is_rejected(line: str) -> None:
    with pytest.raises(ContainerfileError):
        copied(line)


def test_a_source_that_is_not_there_is_named(sources: Sources) -> None:
    (sources.root / "requirements.txt").unlink()
    with pytest.raises(ContainerfileError, match=r"requirements\.txt"):
        sources.tag(IMAGE)


def test_a_snapshot_has_the_tags_of_the_repository() -> None:
    with snapshot(ALL) as taken:
        assert taken.root != ROOT
        assert {image.name: taken.tag(image) for image in ALL} == {
            image.name: Sources(ROOT).tag(image) for image in ALL
        }
        root = taken.root
    assert not root.exists()


def test_every_component_has_an_image_of_its_name() -> None:
    names = [image.name for image in (*OURS, *BACKENDS)]
    assert len(set(names)) == len(names)
    assert {image.tool is None for image in BACKENDS} == {True, False}
