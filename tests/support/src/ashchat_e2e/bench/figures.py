"""Statistics on measurements: pure functions, all durations in seconds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ashchat_dev.kube.metrics import Metrics

LAG = "ashchat_event_loop_lag_seconds"
COARSE_S = 0.1
"""A loop that measures its lag less often than this misses a block of 50 ms."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Durations: the median, the 95th percentile and the maximum."""

    count: int
    p50: float
    p95: float
    longest: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that this percentage does not exceed (nearest rank).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of some durations, None if there are none."""
    if not values:
        return None
    return Spread(len(values), percentile(values, 50), percentile(values, 95), max(values))


@dataclass(frozen=True, slots=True)
class Lag:
    """How late a pod's event loop was, over a period."""

    pod: str
    seconds: float
    """The length of the period."""

    buckets: tuple[tuple[float, int], ...]
    """Upper bound, and how many beats were late by at most that but more than the previous one."""

    @property
    def beats(self) -> int:
        """How often the loop measured its lag."""
        return sum(count for _, count in self.buckets)

    @property
    def every(self) -> float:
        """Average seconds between two measurements."""
        return self.seconds / self.beats if self.beats else math.inf

    @property
    def coarse(self) -> bool:
        """Whether it measured too seldom to detect short blocks."""
        return self.every > COARSE_S

    @property
    def longest(self) -> tuple[float, float]:
        """Bounds of the longest lag; a block of the loop lasts at least as long."""
        bound = 0.0
        found = (0.0, 0.0)
        for upper, count in self.buckets:
            if count:
                found = (bound, upper)
            bound = upper
        return found

    def later_than(self, seconds: float) -> int:
        """Return how many beats were certainly later than a bucket's bound."""
        return sum(count for upper, count in self.buckets if upper > seconds)


def lag_between(pod: str, before: Metrics, after: Metrics, seconds: float) -> Lag | None:
    """Return a pod's lag between two scrapes, None if it has no such metric."""
    if f"{LAG}_bucket" not in before.names & after.names:
        return None
    bounds = sorted({float(labels["le"]) for labels in after.labels(f"{LAG}_bucket")})
    texts = {float(labels["le"]): labels["le"] for labels in after.labels(f"{LAG}_bucket")}
    buckets: list[tuple[float, int]] = []
    below = 0
    for bound in bounds:
        # The buckets of a histogram are cumulative.
        until = int(
            after.value(f"{LAG}_bucket", le=texts[bound])
            - before.value(f"{LAG}_bucket", le=texts[bound])
        )
        buckets.append((bound, until - below))
        below = until
    return Lag(pod, seconds, tuple(buckets))


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of a pod's private port."""

    at: float
    """time.monotonic() of the request; the clock is the machine's, not the process's."""

    path: str
    pod: str
    seconds: float
    status: int
    """0 means no response."""


def within(probes: Iterable[Probe], windows: Sequence[tuple[float, float]]) -> list[Probe]:
    """Return the probes that were made in one of these periods."""
    return [probe for probe in probes if any(start <= probe.at <= end for start, end in windows)]
