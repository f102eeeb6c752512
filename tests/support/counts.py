"""What metrics count while a test runs."""

from collections.abc import Callable

from prometheus_client import Counter

Counts = Callable[[], dict[tuple[str, ...], float]]


def counts(counter: Counter) -> Counts:
    """Says by how much the counter has grown since now, by the values of its labels."""

    def values() -> dict[tuple[str, ...], float]:
        (family,) = counter.collect()
        return {
            tuple(sample.labels.values()): sample.value
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    before = values()
    return lambda: {
        labels: new for labels, value in values().items() if (new := value - before.get(labels, 0.0))
    }
