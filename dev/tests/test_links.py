"""Every relative link and anchor in the repository's Markdown files resolves."""

from pathlib import Path

import pytest

from ashchat_dev.pages import anchors, broken_links, markdown_files

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", markdown_files(ROOT), ids=str)
def test_links_and_anchors_resolve(page: Path) -> None:
    assert not broken_links(ROOT / page)


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
