"""Routes through Apertium's language pairs.

Apertium translates between pairs that have rules; others need intermediate languages. The
shortest route wins, because every step loses something; of two routes of the same length, the
one through Spanish wins, which has the most and the best pairs.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ashchat_translate.providers import codes

HUB: Final = "spa"
"""Preferred intermediate language (ISO 639-3)."""

MAX_STEPS: Final = 3
"""Maximum translation steps; more would be a guess rather than a translation."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One of the engine's pairs, by the engine's names ("spa", "por_BR")."""

    source: str
    target: str

    @property
    def name(self) -> str:
        """The pair as the engine's `langpair` parameter."""
        return f"{self.source}|{self.target}"


class PairGraph:
    """The engine's pairs, as a graph of ISO 639-3 codes."""

    def __init__(self, pairs: Iterable[Pair]) -> None:
        edges: dict[str, dict[str, Pair]] = defaultdict(dict)
        for pair in pairs:
            source = codes.from_apertium(pair.source)
            target = codes.from_apertium(pair.target)
            known = edges[source].get(target)
            # Prefer the plain language to its variants, independent of the order.
            if source != target and (known is None or _rank(pair) < _rank(known)):
                edges[source][target] = pair
        self._edges = {source: dict(targets) for source, targets in edges.items()}

    def __len__(self) -> int:
        return sum(len(targets) for targets in self._edges.values())

    def path(self, source: str, target: str) -> tuple[Pair, ...] | None:
        """Return the pairs of the route between two ISO 639-3 codes; None if there is none.

        Breadth first, the hub before others, then by name, so that every pod chooses the same
        route of at most MAX_STEPS.
        """
        routes: deque[tuple[str, tuple[Pair, ...]]] = deque([(source, ())])
        seen = {source}
        while routes:
            here, route = routes.popleft()
            if here == target:
                return route
            if len(route) == MAX_STEPS:
                continue
            neighbours = self._edges.get(here, {})
            for there in sorted(neighbours, key=lambda code: (code != HUB, code)):
                if there not in seen:
                    seen.add(there)
                    routes.append((there, (*route, neighbours[there])))
        return None


def _rank(pair: Pair) -> tuple[int, str, str]:
    variants = ("_" in pair.source) + ("_" in pair.target)
    return variants, pair.source, pair.target
