"""The operator benchmark's results: raw data, a page, and a table for the terminal. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from ashchat_e2e.bench.figures import percentile

THIRDS: Final = 3
FLAT_MIB: Final = 10.0
"""MiB by which the last third's median may exceed the first's to count as flat."""

AIMS: Final[dict[str, tuple[str, float]]] = {
    "of it the operator's own": ("p95", 3.0),
    "writes of a no-op": ("max", 0.0),
    "100 AshChats applied": ("max", 30.0),
    "of them not Ready": ("max", 0.0),
    "operator's memory with them, MiB": ("max", 150.0),
    "drift repaired": ("p95", 5.0),
    "failover, kill -9": ("max", 20.0),
    "failed requests": ("max", 0.0),
    "lost sockets": ("max", 0.0),
}
"""Figure → which of its values has which target as an upper limit."""

COUNTS: Final = frozenset(
    {
        "reads of a no-op",
        "writes of a no-op",
        "requests meanwhile",
        "failed requests",
        "lost sockets",
        "of them not Ready",
        "operator's memory before, MiB",
        "operator's memory with them, MiB",
    }
)
"""Figures that are not in seconds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, with all its values."""

    name: str
    values: tuple[float, ...]

    def of(self, which: str) -> float:
        """Return p50, p95 or max."""
        return max(self.values) if which == "max" else percentile(self.values, float(which[1:]))

    @property
    def shown(self) -> str:
        """The spread, or the single value, as a cell."""
        unit = "" if self.name in COUNTS else " s"
        picked = [self.of(which) for which in ("p50", "p95", "max")]
        if len(set(self.values)) == 1:
            picked = picked[:1]
        digits = 0 if self.name in COUNTS else 2
        return " / ".join(f"{value:.{digits}f}" for value in picked) + unit

    @property
    def aim(self) -> str:
        """The target and whether it is met; empty if absent."""
        if self.name not in AIMS:
            return ""
        which, most = AIMS[self.name]
        return f"{which} ≤ {most:g}: {'met' if self.met else 'missed'}"

    @property
    def met(self) -> bool:
        """Whether the target is met; true if absent."""
        if self.name not in AIMS:
            return True
        which, most = AIMS[self.name]
        return self.of(which) <= most

    @property
    def growth(self) -> float:
        """The increase from the first to the last third, by their medians."""
        third = max(1, len(self.values) // 3)
        return percentile(self.values[-third:], 50) - percentile(self.values[:third], 50)


@dataclass(frozen=True, slots=True)
class Report:
    """All measurements of one run, and the machine they were made on."""

    begun_at: str
    figures: tuple[Figure, ...]
    cores: int
    processor: str
    load_before: float
    versions: dict[str, str]
    soak_minutes: float
    failed: tuple[str, ...] = ()
    """The parts that could not be measured, and why."""

    @property
    def all_met(self) -> bool:
        """Whether everything was measured and all targets were met."""
        return not self.failed and all(figure.met for figure in self.figures)

    def raw(self) -> dict[str, Any]:
        """Return everything for JSON."""
        return {
            "begun_at": self.begun_at,
            "cores": self.cores,
            "processor": self.processor,
            "load_before": round(self.load_before, 2),
            "versions": self.versions,
            "soak_minutes": self.soak_minutes,
            "failed": list(self.failed),
            "figures": {x.name: [round(value, 3) for value in x.values] for x in self.figures},
        }


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Return what was measured, the figure, and the target with its verdict."""
    found = [(figure.name, figure.shown, figure.aim) for figure in report.figures]
    for figure in report.figures:
        if figure.name == "operator's memory with them, MiB" and len(figure.values) >= THIRDS:
            flat = "flat" if figure.growth <= FLAT_MIB else "grows"
            minutes = f"{report.soak_minutes:.0f} minutes"
            found.append((f"its growth over {minutes}, MiB", f"{figure.growth:+.1f}", flat))
    return [*found, *((part, "not measured", "") for part in report.failed)]


def table(report: Report) -> Table:
    """Return the figures for the terminal."""
    made = Table.grid(padding=(0, 2))
    for row in rows(report):
        made.add_row(*row)
    return made


def markdown(report: Report) -> str:
    """Return the page."""
    figures = "\n".join(f"| {what} | {figure} | {aim} |" for what, figure, aim in rows(report))
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"""# Performance of the operator

`make bench-operator`, begun {report.begun_at}, on {report.cores} cores
({report.processor}), load {report.load_before:.1f} before. {versions}.

Several values are p50 / p95 / max. Raw data: `operator.json`.

| what | figure | aim |
|---|---|---|
{figures}

- **apply → Ready**: a new AshChat with default settings in its own namespace. Images are
  present, and its pods share the cores with everything else. The operator's own part is the
  time until the last workload is written, plus the time from the last backend becoming ready
  until users, queues and rights are declared, plus the time from the last component becoming
  ready until the condition Ready.
- **no-op**: a reconcile pass of a Ready AshChat, counted by the operator's own metrics.
- **100 AshChats**: external backends and no replicas. Applied: every Deployment exists. Ready:
  users, queues and rights are declared and have been read back from the servers.
- **objects without an operator**: the same objects, created by the benchmark with one request
  each, 16 at a time. Measured once; it shows how fast the machine was at that time.
- **drift repaired**: from the deletion of an object by hand until it exists again.
- **failover**: with two pods, the leader's process is killed and its pod deleted, then an object is
  deleted: the time until the other pod has re-created it.
- **rotations**: access tokens live for one minute in this measurement (default: 20), which the
  rotation of the signing keys waits for. Meanwhile simulated users sign up, sign in, refresh
  tokens and chat with translation, without retries.
"""
