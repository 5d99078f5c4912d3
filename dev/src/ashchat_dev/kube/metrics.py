"""A pod's metrics in the Prometheus text format, ready to be asked."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Metrics:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(
                    (dict(sample.labels), float(sample.value))
                )

    def total(self, name: str, /, **labels: str) -> float:
        """Return the sum of all samples of that name that carry these labels; 0.0: none."""
        return sum(
            value
            for own, value in self._samples.get(name, [])
            if labels.items() <= dict(own).items()
        )

    def value(self, name: str, /, **labels: str) -> float:
        """Return the sample with these labels (the first of several); 0.0: none."""
        for own, value in self._samples.get(name, []):
            if labels.items() <= dict(own).items():
                return value
        return 0.0

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of every sample of that name."""
        return [dict(own) for own, _value in self._samples.get(name, [])]

    @property
    def names(self) -> set[str]:
        """The names of all samples."""
        return set(self._samples)
