"""The gateway's metrics for Prometheus: Envoy's counters of answers and tokens, with their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from tertium.gateway.counters import Counters, Tokens

_FAMILIES = {
    "metered": ("tertium_gateway_metered_answers", "Answers (status 2xx) that told their `usage`."),
    "unmetered": ("tertium_gateway_unmetered_answers", "Answers (status 2xx) that told none."),
    "prompt_tokens": ("tertium_gateway_prompt_tokens", "Tokens of prompts, as the answers told them."),
    "completion_tokens": ("tertium_gateway_completion_tokens", "Generated tokens, as the answers told them."),
}


def exposition(counters: Counters) -> bytes:
    """Return the metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Usage(counters))
    return generate_latest(registry)


class _Usage(Collector):
    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> Iterator[CounterMetricFamily]:
        for index, field in enumerate(Tokens._fields):
            family = CounterMetricFamily(*_FAMILIES[field], labels=["namespace", "deployment", "key"])
            for (deployment, key), tokens in self._summed():
                namespace, _, name = deployment.partition("/")
                family.add_metric([namespace, name, key], tokens[index])
            yield family

    def _summed(self) -> Iterable[tuple[tuple[str, str], list[int]]]:
        """Add up what deployments of one name, one after another, have used: a series has no UID."""
        sums: dict[tuple[str, str], list[int]] = {}
        for meter, tokens in self._counters.tokens.items():
            before = sums.get((meter.deployment, meter.key), [0] * len(tokens))
            sums[meter.deployment, meter.key] = [a + b for a, b in zip(before, tokens, strict=True)]
        return sorted(sums.items())
