"""Many callers at once for models that all sleep: each is started once, and every caller is answered."""

from __future__ import annotations

from collections import Counter

import pytest

from e2e.bench.storm import gateways_of, sleeping_models, storm
from e2e.stack import Stack

pytestmark = pytest.mark.e2e

REQUESTS = 200
PRODUCTS = ["Fake-GPU-24GB"] * 3 + ["Fake-GPU-2GB"] * 3


def test_two_hundred_callers_of_six_sleeping_models_cause_one_wake_each(stack: Stack, namespace: str) -> None:
    samples = [stack.apply(manifest) for manifest in sleeping_models(stack, namespace, PRODUCTS, boot=5)]
    for sample in samples:
        sample.wait_condition("Ready", "True", seconds=120)
    gateways = gateways_of(stack)
    outcome = storm(stack, samples, gateways, requests=REQUESTS, body_bytes=1024)
    once = Counter(sample.name for sample in samples)
    assert (outcome.load.requests, outcome.load.errors) == (REQUESTS, {})
    assert sum(count > 0 for count in outcome.load.by_target.values()) == len(gateways) == 2
    assert (outcome.wakes, outcome.pods, outcome.held) == (once, once, REQUESTS)
