"""A verdict as data: the same keys for one model's JSON or YAML and for a batch's lines."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal
from tertium.core.planner import Candidate, Memory, Refused, Sizing, Verdict

Answer: TypeAlias = dict[str, Any]

_PARTS: Final = {
    "weightsMiB": "weights",
    "activationMiB": "activation",
    "nonTorchMiB": "non_torch",
    "cudaGraphMiB": "cuda_graph",
    "kvCacheMiB": "kv_cache",
    "budgetMiB": "budget",
    "headroomMiB": "headroom",
}


def outcome_answer(outcome: Sizing | Refused) -> Answer:
    """The plan as the object's status would hold it, or why there is none, and everything that was tried."""
    candidates = [candidate_answer(candidate) for candidate in outcome.candidates]
    if isinstance(outcome, Refused):
        refused = {"reason": str(outcome.reason), "message": outcome.message}
        return {"refused": refused, "candidates": candidates}
    plan = outcome.status().model_dump(mode="json", by_alias=True)
    return {"plan": plan, "candidates": candidates}


def candidate_answer(candidate: Candidate) -> Answer:
    """One shape on one kind of GPU."""
    return {"gpu": candidate.pool.product, **verdict_answer(candidate.verdict)}


def verdict_answer(verdict: Verdict) -> Answer:
    """One shape. Numbers are absent (null) where nothing could be computed."""
    return {
        "valid": verdict.valid,
        "fits": verdict.fits,
        "verdict": verdict.text,
        "reason": verdict.reason,
        "tensorParallelSize": verdict.tensor,
        "pipelineParallelSize": verdict.pipeline,
        "gpus": verdict.gpus,
        "memory": None if verdict.memory is None else memory_answer(verdict.memory),
        "availableKvMiB": verdict.available_kv,
        "kvTokens": verdict.kv_tokens,
        "maxConcurrency": verdict.max_concurrency_hundredths / 100,
        "maxNumSeqs": verdict.max_num_seqs,
        "flags": list(verdict.flags),
    }


def memory_answer(memory: Memory) -> Answer:
    """Where one GPU's memory goes."""
    return {key: getattr(memory, part) for key, part in _PARTS.items()}


def bad(message: str) -> Terminal:
    """Input that nothing can be planned from."""
    return Terminal(Reason.INVALID, message)
