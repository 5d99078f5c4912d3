"""Alerts and dashboard are valid PromQL, and use only metrics that exist."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from ashchat_dev import promql

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts" / "ashchat-operator" / "files"
MODULES = (
    "ashchat_operator.metrics",
    "ashchat_operator.credentials.rotation.metrics",
    "ashchat_core.amqp",
    "ashchat_core.credentials",
    "ashchat_core.health",
    "ashchat_core.http",
    "ashchat_auth.store.events",
    "ashchat_chat.metrics",
    "ashchat_email.consumers",
    "ashchat_email.smtp",
    "ashchat_static.api",
    "ashchat_translate.metrics",
)
"""Where operator and services define metrics; the e2e suite compares with what pods export."""


def exported() -> set[str]:
    for module in MODULES:
        importlib.import_module(module)
    return {
        name for family in REGISTRY.collect() for name in promql.series(family.name, family.type)
    }


@pytest.mark.parametrize("expression", sorted(set(promql.expressions(FILES))))
def test_every_metric_named_exists(expression: str) -> None:
    named = promql.metrics_in(expression)
    assert named
    assert not named - exported()


def test_invalid_promql_is_rejected() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        promql.metrics_in("sum(rate(x[5m])")
    assert promql.metrics_in('a{b="c"} / on (x) sum by (y) (rate(d_total[5m]))') == {"a", "d_total"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FILES / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    assert f"`{rule['alert']}`" in page, "docs/operations/monitoring.md must describe each alert"


NAMED = re.compile(r"`(ashchat_[a-z0-9_]+)(?:\{([a-z_,]+)\})?`")


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs").glob("**/*.md")), ids=lambda page: str(page.relative_to(ROOT))
)
def test_metrics_named_in_the_documentation_exist(page: Path) -> None:
    modules = {path.stem for path in ROOT.glob("*/src/*")}
    modules |= {path.stem for path in ROOT.glob("*/*/src/*")}
    named = {name for name, _ in NAMED.findall(page.read_text())}
    assert not named - exported() - bases(exported()) - modules


def test_every_metric_of_the_operator_is_documented() -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    named = {name for name, _ in NAMED.findall(page)}
    exported()
    families = [
        promql.series(family.name, family.type)
        for family in REGISTRY.collect()
        if family.name.startswith("ashchat_operator_")
    ]
    assert families
    assert not [series for series in families if not {*series, *bases(series)} & named]


def bases(series: set[str]) -> set[str]:
    """Return the name of a histogram, given the names of its series."""
    return {name.removesuffix("_bucket") for name in series if name.endswith("_bucket")}


def test_the_dashboards_panels_do_not_overlap() -> None:
    panels = json.loads((FILES / "dashboard.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in panels}) == len(panels)
