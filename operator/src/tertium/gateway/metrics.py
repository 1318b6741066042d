"""Every metric of the activator: names, labels, what they are counted from. It must not know who reads them.

What Envoy counts is not counted again here. Labels are bounded by the code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tertium.gateway.waiters import Freed, Full

_SECONDS: Final = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 3600)
_ERRORS: Final = (-600, -300, -120, -60, -30, -15, -10, -5, -2, 0, 2, 5, 10, 15, 30, 60, 120, 300, 600)
_WAKES: Final = frozenset({*(freed.value for freed in Freed), "gave up", "abandoned"})


class GatewayMetrics:
    """Counts into `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._held = Gauge("tertium_held_requests", "Requests that are held now.", registry=registry)
        self._bytes = Gauge(
            "tertium_held_body_bytes", "Bytes of the bodies of requests that are held now.", registry=registry
        )
        self._holds = Histogram(
            "tertium_hold_seconds",
            "How long requests were held, by how that ended.",
            ["outcome"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._full = Counter(
            "tertium_holds_refused",
            "Requests that were not held because a bound was reached, by bound.",
            ["bound"],
            registry=registry,
        )
        self._wakes = Counter(
            "tertium_wakes",
            "Times that requests were held for a deployment until none was, by what became of the last ones.",
            ["outcome"],
            registry=registry,
        )
        self._ready = Histogram(
            "tertium_held_until_ready_seconds",
            "From the first request that was held for a deployment to its first replica that could answer.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._error = Histogram(
            "tertium_eta_error_seconds",
            "By how much longer than predicted that took; less than nothing: it was quicker.",
            registry=registry,
            buckets=_ERRORS,
        )
        self._absolute = Histogram(
            "tertium_eta_absolute_error_seconds",
            "By how much the prediction was wrong, either way.",
            registry=registry,
            buckets=_SECONDS,
        )
        self._opened = Counter(
            "tertium_streams_opened_early",
            "Streams that were answered with signs of life before the model was up.",
            registry=registry,
        )

    def follow(self, held: Callable[[], int], body_bytes: Callable[[], int]) -> None:
        """Have the gauges read these whenever they are asked for."""
        self._held.set_function(held)
        self._bytes.set_function(body_bytes)

    def held(self, outcome: str, seconds: float) -> None:
        """A request is held no longer."""
        self._holds.labels(outcome).observe(seconds)

    def full(self, bound: Full) -> None:
        """A request could not be held."""
        self._full.labels(bound.value).inc()

    def woke(self, seconds: float, expected: float | None) -> None:
        """A replica can answer, so many seconds after the first request was held for it."""
        self._ready.observe(seconds)
        if expected is not None:
            self._error.observe(seconds - expected)
            self._absolute.observe(abs(seconds - expected))

    def wake_ended(self, outcome: str) -> None:
        """Nobody is held for a deployment any more; a condition's reason counts as refused."""
        self._wakes.labels(outcome if outcome in _WAKES else "refused").inc()

    def opened(self) -> None:
        """A stream was opened before the model was up."""
        self._opened.inc()
