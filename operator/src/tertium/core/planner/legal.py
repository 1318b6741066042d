"""Which tensor parallel sizes vLLM accepts for a model; the first rule a size breaks, in words."""

from __future__ import annotations

from tertium.core.planner import constants
from tertium.core.planner.facts import ModelFacts


def violation(facts: ModelFacts, tensor: int) -> str | None:
    """Return why `facts` cannot be split over `tensor` ranks, or None when it can.

    Latent attention keeps one compressed head on every rank, so the KV rule does not apply to it.
    """
    if facts.heads % tensor:
        return f"{facts.heads} attention heads do not divide by {tensor}"
    kv_heads = facts.kv_heads
    if not facts.latent_bytes_per_token and kv_heads % tensor and tensor % kv_heads:
        return f"{kv_heads} KV heads neither divide by {tensor} nor divide it"
    vocabulary = padded_vocabulary(facts)
    if vocabulary % tensor:
        return f"the padded vocabulary of {vocabulary:,} does not divide by {tensor}"
    if facts.intermediate % tensor:
        return f"the intermediate size of {facts.intermediate:,} does not divide by {tensor}"
    return None


def padded_vocabulary(facts: ModelFacts) -> int:
    """Return the vocabulary as vLLM splits it."""
    padding = constants.VOCABULARY_PADDING
    return -(-facts.vocabulary // padding) * padding
