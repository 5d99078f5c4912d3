"""Figures out of what was measured: pure functions, all durations in seconds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ashchat_dev.kube.metrics import Metrics

LAG = "ashchat_event_loop_lag_seconds"
COARSE_S = 0.1
"""A loop that looks at its lag less often than this does not see a block of 50 ms."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How long it took: in the middle, for nearly all, at worst."""

    count: int
    p50: float
    p95: float
    longest: float


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent do not exceed (nearest rank).

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread of some durations, None when there is none."""
    if not values:
        return None
    return Spread(len(values), percentile(values, 50), percentile(values, 95), max(values))


@dataclass(frozen=True, slots=True)
class Lag:
    """How late a pod's event loop was, over a time."""

    pod: str
    seconds: float
    """How long it was looked at."""

    buckets: tuple[tuple[float, int], ...]
    """Upper bound, and how many beats were that late but later than the bound before."""

    @property
    def beats(self) -> int:
        """How often the loop looked."""
        return sum(count for _, count in self.buckets)

    @property
    def every(self) -> float:
        """How often it looked on average, in seconds between two looks."""
        return self.seconds / self.beats if self.beats else math.inf

    @property
    def coarse(self) -> bool:
        """Whether it looked too seldom to tell anything about short blocks."""
        return self.every > COARSE_S

    @property
    def longest(self) -> tuple[float, float]:
        """Between what the longest lag was; a block of the loop is at least as long."""
        bound = 0.0
        found = (0.0, 0.0)
        for upper, count in self.buckets:
            if count:
                found = (bound, upper)
            bound = upper
        return found

    def later_than(self, seconds: float) -> int:
        """Return how many beats were surely later than a bucket's bound."""
        return sum(count for upper, count in self.buckets if upper > seconds)


def lag_between(pod: str, before: Metrics, after: Metrics, seconds: float) -> Lag | None:
    """Return a pod's lag between two scrapes, None where it does not measure it."""
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
    """One question to a pod's private port."""

    at: float
    """time.monotonic() when it was asked; the clock is the machine's, not the process's."""

    path: str
    pod: str
    seconds: float
    status: int
    """0: no answer."""


def within(probes: Iterable[Probe], windows: Sequence[tuple[float, float]]) -> list[Probe]:
    """Return the probes that were asked in one of these times."""
    return [probe for probe in probes if any(start <= probe.at <= end for start, end in windows)]
