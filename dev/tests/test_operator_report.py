"""The page of the operator's benchmark says whether each aim is met."""

from dataclasses import replace

from ashchat_e2e.bench.operator_report import Figure, Report, markdown, rows

MEMORY = "operator's memory with them, MiB"

REPORT = Report(
    begun_at="2026-01-01T00:00:00+00:00",
    figures=(
        Figure("drift repaired", (0.5,) * 99 + (9.0,)),
        Figure("writes of a no-op", (0.0, 0.0)),
        Figure(MEMORY, (100.0, 100.0, 101.0, 102.0, 125.0, 125.0)),
    ),
    cores=2,
    processor="one",
    load_before=0.1,
    versions={"operator": "0.1.0"},
    soak_minutes=30,
)


def row(report: Report, name: str) -> tuple[str, str, str]:
    return next(x for x in rows(report) if x[0] == name)


def test_an_aim_for_nearly_all_is_met_though_one_took_longer() -> None:
    assert row(REPORT, "drift repaired") == (
        "drift repaired",
        "0.50 / 0.50 / 9.00 s",
        "p95 ≤ 5: met",
    )
    assert REPORT.all_met


def test_an_aim_that_is_missed_is_said() -> None:
    report = replace(REPORT, figures=(Figure("writes of a no-op", (0.0, 1.0)),))
    assert row(report, "writes of a no-op")[2] == "max ≤ 0: missed"
    assert not report.all_met
    assert "missed" in markdown(report)


def test_memory_that_grows_is_said() -> None:
    assert row(REPORT, "its growth over 30 minutes, MiB")[1:] == ("+25.0", "grows")
    flat = replace(REPORT, figures=(Figure(MEMORY, (100.0,) * 6),))
    assert row(flat, "its growth over 30 minutes, MiB")[1:] == ("+0.0", "flat")
