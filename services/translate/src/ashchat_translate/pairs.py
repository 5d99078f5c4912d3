"""Which way a text takes through Apertium's language pairs.

Apertium translates between pairs that somebody wrote rules for; what is missing goes over
a language between. Spanish has the most and the best pairs, so of two ways of the same
length the one over Spanish is taken, and a longer way is taken only when there is none
shorter: every step loses something.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from ashchat_translate.providers import codes

HUB = "spa"

MAX_STEPS = 3
"""Steps a text may take; after more it is a guess rather than a translation."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One of the engine's pairs, by the engine's own names ("spa", "por_BR")."""

    source: str
    target: str

    @property
    def name(self) -> str:
        """The pair as the engine's `langpair` parameter wants it."""
        return f"{self.source}|{self.target}"


class PairGraph:
    """The pairs an engine has, as a graph of ISO 639-3 codes."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        edges: dict[str, dict[str, Pair]] = defaultdict(dict)
        for pair in pairs:
            source = codes.from_apertium(pair.source)
            target = codes.from_apertium(pair.target)
            known = edges[source].get(target)
            # The plain language before its variants, whatever the order of the list.
            if source != target and (known is None or _rank(pair) < _rank(known)):
                edges[source][target] = pair
        self._edges = {source: dict(targets) for source, targets in edges.items()}

    def __len__(self) -> int:
        return sum(len(targets) for targets in self._edges.values())

    def path(self, source: str, target: str) -> tuple[Pair, ...] | None:
        """Return the pairs to go through from one ISO 639-3 code to another.

        Breadth first, the hub before others, then by name, so that every pod takes the
        same way. None: there is no way of at most MAX_STEPS.
        """
        ways: deque[tuple[str, tuple[Pair, ...]]] = deque([(source, ())])
        seen = {source}
        while ways:
            here, way = ways.popleft()
            if here == target:
                return way
            if len(way) == MAX_STEPS:
                continue
            neighbours = self._edges.get(here, {})
            for there in sorted(neighbours, key=lambda code: (code != HUB, code)):
                if there not in seen:
                    seen.add(there)
                    ways.append((there, (*way, neighbours[there])))
        return None


def _rank(pair: Pair) -> tuple[int, str, str]:
    variants = ("_" in pair.source) + ("_" in pair.target)
    return variants, pair.source, pair.target
