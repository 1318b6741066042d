"""Which splits the engine accepts for a model; the first rule a split breaks, in words.

Sources: vLLM 0.32, `config/model.py`, `layers/linear.py`, `layers/mamba/`, `layers/quantization/`; each rule
ends a start with an error before any memory is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from tertium.core.planner.caches import Latent
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.families import CHECK_EXPERTS, SUPPORTED_UNTIL
from tertium.core.planner.releases import SMALLEST_EXPERT_BLOCK, VOCABULARY_PADDING, Release


def violation(facts: ModelFacts, release: Release, tensor: int, pipeline: int = 1) -> str | None:
    """Return why `facts` cannot be split over `tensor` ranks in `pipeline` stages, or None when it can."""
    return next(_violations(facts, release, tensor, pipeline), None)


def unsupported(facts: ModelFacts, version: tuple[int, int] | None) -> str | None:
    """Return why this version does not know the architecture; None where the version is unknown."""
    until = SUPPORTED_UNTIL.get(facts.architecture)
    if until is None or version is None or version <= until:
        return None
    return f"the engine supports {facts.architecture} up to {until[0]}.{until[1]} only"


def padded_vocabulary(facts: ModelFacts) -> int:
    """Return the vocabulary as the engine splits it."""
    return -(-facts.vocabulary // VOCABULARY_PADDING) * VOCABULARY_PADDING


def _violations(facts: ModelFacts, release: Release, tensor: int, pipeline: int) -> Iterator[str]:
    yield from _attention(facts, tensor)
    yield from _recurrent(facts, tensor)
    vocabulary = padded_vocabulary(facts)
    if vocabulary % tensor:
        yield f"the padded vocabulary of {vocabulary:,} does not divide by {tensor}"
    yield from _feedforward(facts, tensor)
    yield from _stored(facts, release, tensor)
    if pipeline > facts.shape.layers:
        yield f"{facts.shape.layers} layers cannot make {pipeline} pipeline stages"
    if pipeline > 1 and not facts.generates:
        yield "encoders cannot be split into pipeline stages"


def _attention(facts: ModelFacts, tensor: int) -> Iterator[str]:
    """A latent is kept whole on every rank, so the rule for KV heads does not apply to it."""
    if facts.shape.heads % tensor:
        yield f"{facts.shape.heads} attention heads do not divide by {tensor}"
    for kv_heads in sorted({attention.heads for attention in facts.attentions}):
        if kv_heads % tensor and tensor % kv_heads:
            yield f"{kv_heads} KV heads neither divide by {tensor} nor divide it"


def _recurrent(facts: ModelFacts, tensor: int) -> Iterator[str]:
    for state in facts.recurrents:
        if state.heads % tensor:
            yield f"{state.heads} heads of its recurrent layers do not divide by {tensor}"
        if state.key_heads % tensor:
            yield f"{state.key_heads} key heads of its recurrent layers do not divide by {tensor}"
        if state.groups > 1 and state.groups % tensor:
            yield f"{state.groups} groups of its state-space layers do not divide by {tensor}"


def _feedforward(facts: ModelFacts, tensor: int) -> Iterator[str]:
    wide = facts.feedforward
    if wide.dense % tensor:
        yield f"the intermediate size of {wide.dense:,} does not divide by {tensor}"
    if wide.expert % tensor:
        yield f"the experts' intermediate size of {wide.expert:,} does not divide by {tensor}"
    if wide.shared % tensor:
        yield f"the shared experts' intermediate size of {wide.shared:,} does not divide by {tensor}"
    if wide.experts and tensor > wide.experts and facts.architecture.startswith(CHECK_EXPERTS):
        yield f"{tensor} is more than its {wide.experts} experts"


def _stored(facts: ModelFacts, release: Release, tensor: int) -> Iterator[str]:
    """Rules of quantized weights: a split must not cut a block or group that shares a scale."""
    stored = facts.quantization
    if stored.scheme in ("bitsandbytes", "gguf") and stored.scheme not in release.in_tree:
        yield f"the engine no longer reads {stored.scheme} weights"
    if stored.scheme == "bitsandbytes" and tensor > 1:
        yield "bitsandbytes weights cannot be split"
    if tensor == 1:
        return
    if stored.block is not None:
        yield from _blocks(facts, release, tensor, stored.block)
    elif stored.group:
        for name, width in (*_row_widths(facts), *_expert_width(facts)):
            if width % tensor == 0 and width // tensor % stored.group:
                yield _cut(name, width, tensor, f"the quantization group of {stored.group}")


def _blocks(facts: ModelFacts, release: Release, tensor: int, block: tuple[int, int]) -> Iterator[str]:
    size = block[1]
    for name, width in _row_widths(facts):
        if width % tensor == 0 and width // tensor % size:
            yield _cut(name, width, tensor, f"the quantization block of {size}")
    least = size if release.strict_expert_blocks else min(size, SMALLEST_EXPERT_BLOCK)
    for name, width in _expert_width(facts):
        if width % tensor == 0 and gcd(width // tensor, size) < least:
            yield _cut(name, width, tensor, f"{least}, which its quantization blocks of {size} need")


def _cut(name: str, width: int, tensor: int, unit: str) -> str:
    return f"{name} of {width:,} split by {tensor} is {width // tensor:,}, not a multiple of {unit}"


def _expert_width(facts: ModelFacts) -> tuple[tuple[str, int], ...]:
    width = facts.feedforward.expert
    return (("the experts' intermediate size", width),) if width else ()


def _row_widths(facts: ModelFacts) -> Iterator[tuple[str, int]]:
    """Inputs of the dense layers that are split along their input, which is where scales lie."""
    wide = facts.feedforward
    if wide.dense:
        yield "the intermediate size", wide.dense
    if wide.shared:
        yield "the shared experts' intermediate size", wide.shared
    if facts.quantization.attention and not any(
        isinstance(cache, Latent) for layer in facts.caches for cache in layer
    ):
        for attention in facts.attentions:
            yield "the width of all attention heads", facts.shape.heads * attention.value_width
