"""Links, anchors and paths in the repository's Markdown files exist."""

from pathlib import Path

import pytest

from ashchat_dev.pages import anchors, broken_links, markdown_files, missing_paths

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", markdown_files(ROOT), ids=str)
def test_links_and_anchors_resolve(page: Path) -> None:
    assert not broken_links(ROOT / page)


@pytest.mark.parametrize(
    "page",
    [page for page in markdown_files(ROOT) if page.is_relative_to("docs/development")],
    ids=str,
)
def test_paths_exist(page: Path) -> None:
    assert not missing_paths(ROOT / page, ROOT)


def test_a_missing_path_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text(
        "`docs/page.md` `docs/*.md` `docs/` `docs/gone.md` `other/x.md` `page`\n"
    )
    assert missing_paths(tmp_path / "docs" / "page.md", tmp_path) == ["docs/gone.md"]


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# `make up`, twice\n\n## Again\n\n## Again\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n"
        "[good](other.md#make-up-twice) [good](#a-page) [good](other.md#again-1) [web](https://x.y)\n"
        "[no file](gone.md) [no anchor](other.md#gone) [nor here](#gone)\n"
        "```\n[in a block](gone.md)\n```\n`[in code](gone.md)`\n"
    )
    assert broken_links(page) == ["gone.md", "other.md#gone", "#gone"]


def test_anchors_are_the_ones_that_github_makes() -> None:
    text = "# A [link](x.md) & more\n## `code_x`, 1.2\n```\n# no heading\n```\n"
    assert anchors(text) == {"a-link--more", "code_x-12"}
