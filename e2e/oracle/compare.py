"""The planner's arithmetic beside vLLM's answers: where they part, and why where that is understood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from e2e.oracle.ask import BATCHED_TOKENS, SIZES
from tertium.core.errors import Terminal
from tertium.core.planner import GpuPool, Memory, ModelFacts, Request, Verdict, judge

MEBIBYTE: Final = 1 << 20
# More memory than any model needs: what is compared is not whether it fits.
POOL: Final = GpuPool(product="boundless", memory_mebibytes=1 << 24, gpus_per_node=64)

# Errors that say that the question could not be put, not that the engine refuses: the config alone does not
# do for Transformers, or a stand-in is not what the constructor expects.
UNANSWERED: Final = (
    *(
        "AttributeError:",
        "ModuleNotFoundError:",
        "OSError:",
        "TimeoutError:",
        "TypeError:",
        "ZeroDivisionError:",
    ),
)

WEIGHTS_TOLERANCE: Final = 0.02
"""Share by which the planner's inventory of a config alone may miss parameters and buffers; its margin covers
half of it, and the headers of a real checkpoint take its place."""
_BLOCK_TOKENS: Final = 16
_LATENT_BLOCK_TOKENS: Final = 64
"""On GPUs the kernels of latent attention take blocks of 64 tokens, and 128 beside recurrent layers; vLLM was
asked with blocks of 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One parting: `key` names it in `explained`."""

    model: str
    topic: str
    text: str

    @property
    def key(self) -> str:
        """The model and the topic."""
        return f"{self.model}: {self.topic}"


def disagreements(name: str, config: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[Disagreement]:
    """Yield where the planner and vLLM part over one model: what is legal, weights, caches."""
    try:
        facts = ModelFacts.of(config)
    except Terminal as error:
        if "refused" not in answer:
            yield Disagreement(model=name, topic="model", text=f"the planner refuses it: {error}")
        return
    legal = [size for size in SIZES if _judge(facts, size, 2048).valid]
    if "refused" in answer:
        if legal and not answer["refused"].startswith(UNANSWERED):
            yield Disagreement(model=name, topic="model", text=f"vLLM refuses it: {answer['refused']}")
        return
    unanswered = {
        size for text, sizes in answer["refusals"].items() if text.startswith(UNANSWERED) for size in sizes
    }
    differing = [
        size for size in SIZES if (size in legal) != (size in answer["legal"]) and size not in unanswered
    ]
    if differing:
        yield Disagreement(model=name, topic="legal", text=_legal_text(differing, legal, answer))
    shapes = {int(size): shape for size, shape in answer["shapes"].items() if int(size) in legal}
    yield from _figures(name, facts, shapes)


def _figures(name: str, facts: ModelFacts, shapes: Mapping[int, Any]) -> Iterator[Disagreement]:
    weights, caches = [], []
    for size, shape in shapes.items():
        loaded = (shape["parameterBytes"] + shape["bufferBytes"]) / MEBIBYTE
        ours = _memory(facts, size, 2048).weights
        if abs(ours - loaded) > max(16, WEIGHTS_TOLERANCE * loaded):
            weights.append(f"TP{size} {ours:,} and {loaded:,.0f} MiB ({100 * ours / loaded - 100:+.1f} %)")
        for tokens, needed in shape.get("sequenceBytes", {}).items():
            if int(tokens) > (facts.max_positions or int(tokens)):
                continue
            kv = _memory(facts, size, int(tokens)).kv_cache
            theirs = needed / MEBIBYTE
            # The planner rounds up to MiB and counts the block that the engine keeps for itself.
            if not -1 <= kv - theirs <= 2 + 2 * _block_bytes(shape) / MEBIBYTE:
                caches.append(f"TP{size} {int(tokens):,} tokens {kv:,} and {theirs:,.0f} MiB")
    if weights:
        yield Disagreement(model=name, topic="weights", text="; ".join(weights))
    if caches:
        yield Disagreement(model=name, topic="caches", text="; ".join(caches))


def _block_bytes(shape: Mapping[str, Any]) -> float:
    """A block of all layers that share one, or for latent attention as many as a GPU's block holds."""
    kinds = shape["caches"]
    latent = any(kind.startswith("MLA") and tokens == _BLOCK_TOKENS for kind, _, _, tokens in kinds)
    sizes = [layers * page for _, layers, page, _ in kinds]
    return sum(sizes) * _LATENT_BLOCK_TOKENS / _BLOCK_TOKENS if latent else min(sizes, default=0)


def _legal_text(differing: list[int], legal: list[int], answer: Mapping[str, Any]) -> str:
    said = {size: text for text, sizes in answer["refusals"].items() for size in sizes}
    parts = [
        f"TP{size}: the planner says {'yes' if size in legal else 'no'}, vLLM {said.get(size, 'yes')}"
        for size in differing
    ]
    return "; ".join(parts)


def _judge(facts: ModelFacts, tensor: int, context: int) -> Verdict:
    longest = facts.max_positions or context
    request = Request(
        context_tokens=min(context, longest),
        max_num_seqs=64,
        max_num_batched_tokens=BATCHED_TOKENS,
        tensor=tensor,
    )
    return judge(facts, POOL, request, tensor)


def _memory(facts: ModelFacts, tensor: int, context: int) -> Memory:
    memory = _judge(facts, tensor, context).memory
    assert memory is not None
    return memory
