"""The sign-in benchmark's results: raw data, a page, and a table for the terminal."""

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ashchat_e2e.bench.figures import Lag, Probe, Spread, spread, within

OK = 200
BLOCK_AIM_S = 0.05
HEALTH_AIM_S = 0.1
PAGE_CHARS = 96


@dataclass(frozen=True, slots=True)
class SignIn:
    """One sign-in; status 0 means no response."""

    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Round:
    """Sign-ins that began together; the times are time.monotonic()."""

    started: float
    ended: float
    sign_ins: tuple[SignIn, ...]

    @property
    def per_second(self) -> float:
        """Successful sign-ins per second."""
        return sum(one.status == OK for one in self.sign_ins) / (self.ended - self.started)


@dataclass(frozen=True, slots=True)
class Run:
    """All measurements of one run, and the machine they were made on."""

    begun_at: str
    at_once: int
    people: int
    idle: tuple[float, float]
    rounds: tuple[Round, ...]
    probes: tuple[Probe, ...]
    lags: tuple[Lag, ...]
    """For the pods that export the metric."""

    pods: tuple[str, ...]
    asked: tuple[str, ...]
    """The addresses that were probed."""

    alone: tuple[float, ...]
    """Verifications per second of plain argon2, before and after."""

    hashing: str
    cores: int
    processor: str
    load_before: float
    versions: dict[str, str]
    images: tuple[str, ...]
    cpu_requests: tuple[str, ...]
    """The CPU request of each auth pod, as Kubernetes writes it."""

    cpu_used: float
    """Cores that all of them used during the sign-ins."""

    @property
    def sign_ins(self) -> list[SignIn]:
        """The sign-ins of all rounds."""
        return [one for each in self.rounds for one in each.sign_ins]

    def health(self, *, idle: bool = False) -> list[Probe]:
        """Return the health probes during the sign-ins, or before them."""
        return within(
            self.probes,
            [self.idle] if idle else [(each.started, each.ended) for each in self.rounds],
        )

    def raw(self) -> dict[str, Any]:
        """Return everything for JSON: durations in milliseconds, times from the idle phase on."""
        zero = self.idle[0]
        return {
            **{
                key: value
                for key, value in asdict(self).items()
                if key not in {"idle", "rounds", "probes", "lags"}
            },
            "idle_ms": [ms(moment - zero) for moment in self.idle],
            "rounds": [
                {
                    "started_ms": ms(each.started - zero),
                    "ended_ms": ms(each.ended - zero),
                    "sign_ins_ms": [ms(one.seconds) for one in each.sign_ins],
                    "failed": [one.status for one in each.sign_ins if one.status != OK],
                }
                for each in self.rounds
            ],
            "health": [
                [ms(one.at - zero), self.pods.index(one.pod), one.path, one.status, ms(one.seconds)]
                for one in self.probes
            ],
            "event_loop_lag": [
                {
                    "pod": lag.pod,
                    "seconds": round(lag.seconds, 3),
                    "beats_by_upper_bound_s": [[str(bound), count] for bound, count in lag.buckets],
                }
                for lag in self.lags
            ],
        }


def ms(seconds: float) -> float:
    """Return milliseconds with one decimal."""
    return round(seconds * 1000, 1)


def shown(found: Spread | None) -> str:
    """Return a spread as one cell."""
    if found is None:
        return "nothing was measured"
    return " / ".join(f"{value * 1000:.0f}" for value in (found.p50, found.p95, found.longest))


def longest_block(lags: Sequence[Lag], pods: Sequence[str]) -> tuple[str, str]:
    """Return the bounds of the longest event loop block, and a verdict on the target."""
    missing = len(pods) - len(lags)
    if missing or not lags:
        return "no metric", "not measured, old images"
    slowest = max(lags, key=lambda lag: lag.longest)
    if any(lag.coarse for lag in lags):
        return f"looks every {slowest.every * 1000:.0f} ms", "not measured, old images"
    low, high = slowest.longest
    block = high + slowest.every
    cell = f"{low * 1000:.0f} to {block * 1000:.0f}"
    if low >= BLOCK_AIM_S:
        over = sum(lag.later_than(BLOCK_AIM_S) for lag in lags)
        return cell, f"missed, {over} times"
    return cell, "met" if block <= BLOCK_AIM_S else "not surely met"


def health_verdict(probes: Sequence[Probe]) -> str:
    """Return a verdict on the health probes' target."""
    if not probes:
        return "not measured"
    failed = sum(probe.status != OK for probe in probes)
    late = sum(probe.seconds > HEALTH_AIM_S for probe in probes)
    if failed:
        return f"missed, {failed} not answered with 200"
    return f"missed, {late} of {len(probes)} later" if late else "met"


def rows(run: Run) -> list[tuple[str, str, str]]:
    """Return what was measured, the figure, and the target with its verdict."""
    good = [one.seconds for one in run.sign_ins if one.status == OK]
    busy = run.health()
    block, block_verdict = longest_block(run.lags, run.pods)
    speed = statistics.median(each.per_second for each in run.rounds)
    alone = max(run.alone)
    return [
        ("signed in", f"{len(good)} of {len(run.sign_ins)}", ""),
        ("sign-in ms, p50/p95/max", shown(spread(good)), ""),
        ("sign-ins a second", f"{speed:.0f}", ""),
        ("plain argon2, a second", f"{alone:.0f}", "the upper bound"),
        ("longest loop block, ms", block, f"≤ 50: {block_verdict}"),
        (
            "health ms, p50/p95/max",
            shown(spread([probe.seconds for probe in busy])),
            f"≤ 100: {health_verdict(busy)}",
        ),
        (
            "health while idle",
            shown(spread([probe.seconds for probe in run.health(idle=True)])),
            "the way there alone",
        ),
    ]


def table(run: Run) -> Table:
    """Return the figures for the terminal."""
    made = Table.grid(padding=(0, 2))
    for what, figure, aim in rows(run):
        made.add_row(what, figure, aim)
    return made


def markdown(run: Run) -> str:
    """Return the page."""
    figures = "\n".join(f"| {what} | {figure} | {aim} |" for what, figure, aim in rows(run))
    rounds = "\n".join(
        f"| {number} | {each.ended - each.started:.1f} | {each.per_second:.0f} "
        f"| {shown(spread([one.seconds for one in each.sign_ins if one.status == OK]))} |"
        for number, each in enumerate(run.rounds, 1)
    )
    versions = textwrap.fill(
        ", ".join(f"{name} {value}" for name, value in run.versions.items() if value),
        width=PAGE_CHARS,
        subsequent_indent="  ",
        break_on_hyphens=False,
    )
    forwarded = any(address.startswith("127.") for address in run.asked)
    way = "through `kubectl port-forward`" if forwarded else "at the pod's own address"
    return f"""# {run.at_once} concurrent sign-ins

```console
$ make bench-auth
```

| | | aim |
|---|---|---|
{figures}

{len(run.rounds)} rounds of {run.at_once} sign-ins, {run.people} people, on known
devices, over HTTP through the edge. The load is generated on the same {run.cores} cores. `/livez`
and `/readyz` on the private port are requested alternately every 50 ms by a separate process
{way}; the last row is the time without sign-ins. The event loop is
measured by its own metric, `ashchat_event_loop_lag_seconds`: a block lasts at least as long as
the loop was late, and at most one measuring interval longer. A pod that gets no CPU is late,
too. Plain argon2 is argon2-cffi's `verify` with the same parameters
on every core in the same run, before and after; the table has the better result.

| round | s | sign-ins a second | ms (p50 / p95 / max) |
|---|---|---|---|
{rounds}

- measured {run.begun_at}, load average before {run.load_before:.1f}
- {run.cores} cores, {run.processor}
- {run.hashing}
- pods of auth: {len(run.pods)}, requesting CPU {", ".join(run.cpu_requests)}; together they used
  {run.cpu_used:.2f} cores
- {versions}
- raw data: [sign-in.json](sign-in.json)
"""
