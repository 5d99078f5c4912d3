"""The expressions of the chart's alerts and dashboard, and the metrics that they name."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import promql_parser
import yaml

_SUFFIXES: Final = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count", ""),
    "info": ("_info",),
}


def expressions(files: Path) -> Iterator[str]:
    """Yield every PromQL expression in the chart's rules.yaml and dashboard.json."""
    for group in yaml.safe_load((files / "rules.yaml").read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]
    for panel in json.loads((files / "dashboard.json").read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics in an expression.

    Raises:
        ValueError: It is no PromQL.
    """
    names: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            names.add(node.name)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return names


def series(family: str, kind: str) -> set[str]:
    """Return the names that a metric's series have, which is what expressions name."""
    name = family.removesuffix("_total") if kind == "counter" else family
    return {f"{name}{suffix}" for suffix in _SUFFIXES.get(kind, ("",))}
