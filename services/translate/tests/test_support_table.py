"""The page about Apertium's languages, against what its image has and what Debian offers."""

from pathlib import Path
from typing import Final

from ashchat_core import languages
from ashchat_translate import support_table
from ashchat_translate.detection import CLIENT_LANGUAGES
from ashchat_translate.pairs import Pair, PairGraph

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "reference" / "translation.md"
PAIRS: Final = ROOT / "images" / "apertium" / "pairs.txt"
DEBIAN: Final = Path(__file__).parent / "data" / "debian_pairs.txt"
ONE_PIVOT: Final = 2


def graph() -> PairGraph:
    return support_table.read(PAIRS.read_text(encoding="utf-8").splitlines())


def test_the_page_has_the_images_pairs() -> None:
    assert support_table.table(graph()) in PAGE.read_text(encoding="utf-8")


def test_every_client_language_has_a_name() -> None:
    assert set(support_table.NAMES) == CLIENT_LANGUAGES


def test_no_pair_of_debian_would_connect_more_of_the_clients_languages() -> None:
    """Even if each of its packages had both directions."""
    names = DEBIAN.read_text(encoding="utf-8").split()
    both = [pair for name in names for pair in (name.split("-"), name.split("-")[::-1])]
    everything = PairGraph(Pair(*pair) for pair in both)
    image = graph()
    codes = [languages.iso_639_3(tag) for tag in sorted(CLIENT_LANGUAGES)]
    for source in codes:
        for target in codes:
            path = everything.path(source, target)
            if source != target and path is not None and len(path) <= ONE_PIVOT:
                route = image.path(source, target)
                assert route is not None, (source, target)
                assert len(route) <= len(path)


def test_pairs_of_the_clients_languages_only() -> None:
    codes = {languages.iso_639_3(tag) for tag in CLIENT_LANGUAGES}
    for line in PAIRS.read_text(encoding="utf-8").split():
        assert {side.partition("_")[0] for side in line.split("|")} <= codes
