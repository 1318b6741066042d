"""The search: the fewest GPUs that hold one replica, cheaper concessions first.

Tensor parallelism within a node comes first, pipeline stages within it next, stages over nodes last. Before a
larger shape is taken, fewer sequences, an 8-bit KV cache where it is allowed, and fewer graphs are tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tertium.api.conditions import Reason
from tertium.core.planner import offers, words
from tertium.core.planner.facts import ModelFacts
from tertium.core.planner.gpus import GpuPool
from tertium.core.planner.judge import MOST_GPUS, assess, sequences_of
from tertium.core.planner.measured import Measured, Repair, measurement_key, repair_key
from tertium.core.planner.outcome import Candidate, Refused, Sizing
from tertium.core.planner.request import Request
from tertium.core.planner.verdict import Label, Verdict

_FEWEST_SEQUENCES = 8
_FEWER_GRAPHS = (64, 8)
_MORE_NODES = (2, 4)


def search(
    facts: ModelFacts,
    pools: Sequence[GpuPool],
    request: Request,
    *,
    ordered: bool = False,
    measured: Mapping[str, Measured] | None = None,
    repairs: Mapping[str, Repair] | None = None,
) -> Sizing | Refused:
    """Return the smallest world size that starts, or why there is none and what would work.

    `ordered`: the first of `pools` that fits is taken; else the fewest GPUs, then the least memory.
    """
    if not pools:
        return Refused(reason=Reason.NO_ACCELERATOR, message=words.no_accelerator(pools, ()))
    known, taught = measured or {}, repairs or {}
    attempts = [(pool, _try_pool(facts, pool, request, known, taught)) for pool in pools]
    candidates = tuple(Candidate(pool=pool, verdict=one) for pool, tried in attempts for one in tried)
    fitting = [(pool, tried) for pool, tried in attempts if tried and tried[-1].fits]
    if not fitting:
        return _refused(facts, attempts, request, candidates)
    pool, tried = fitting[0] if ordered else min(fitting, key=_cost)
    passed_over = [other for other, _ in attempts[: attempts.index((pool, tried))]] if ordered else []
    taught_words = offers.repaired(taught.get(repair_key(facts.digest, pool.product, request.engine_version)))
    why = ". ".join([words.chosen(pool, tried, passed_over), *taught_words])
    return Sizing(pool=pool, verdict=tried[-1], why=why, candidates=candidates)


def _try_pool(
    facts: ModelFacts,
    pool: GpuPool,
    request: Request,
    measured: Mapping[str, Measured],
    repairs: Mapping[str, Repair],
) -> list[Verdict]:
    """Try shapes in their order up to the first that fits."""
    repair = repairs.get(repair_key(facts.digest, pool.product, request.engine_version))
    wanted = request if repair is None else _repaired(pool, request, repair)
    tried: list[Verdict] = []
    for tensor, pipeline in _shapes(pool, wanted):
        if tensor * pipeline >= wanted.least_gpus:
            shape = _Shape(facts, pool, tensor, pipeline, measured)
            tried.append(_best(shape, wanted))
            if tried[-1].fits:
                break
    return tried


def _repaired(pool: GpuPool, request: Request, repair: Repair) -> Request:
    sequences = sequences_of(pool, request)
    return replace(
        request,
        max_num_seqs=min(sequences, repair.max_num_seqs or sequences),
        enforce_eager=request.enforce_eager or repair.enforce_eager,
        least_gpus=max(request.least_gpus, repair.least_gpus),
    )


def _shapes(pool: GpuPool, request: Request) -> Iterator[tuple[int, int]]:
    """Shapes in the order they are tried; a pinned number is the only one of its kind."""
    node = min(pool.gpus_per_node, MOST_GPUS)
    tensors = range(1, node + 1) if request.tensor is None else (request.tensor,)
    if request.pipeline is None or request.pipeline == 1:
        yield from ((tensor, 1) for tensor in tensors if tensor <= node)
    if request.pipeline == 1:
        return
    most = min(node * request.nodes, MOST_GPUS)
    stages = range(2, most + 1) if request.pipeline is None else (request.pipeline,)
    split = [(t, p) for p in stages for t in tensors if p > 1 and t <= node and t * p <= most]
    placeable = [shape for shape in split if _placeable(pool, request, *shape)]
    yield from sorted(placeable, key=lambda s: (pool.nodes_needed(*s), s[0] * s[1], s[1]))


def _placeable(pool: GpuPool, request: Request, tensor: int, pipeline: int) -> bool:
    nodes = pool.nodes_needed(tensor, pipeline)
    per_node = pipeline // nodes * tensor
    return nodes <= request.nodes and (nodes == 1 or pool.nodes_with(per_node) >= nodes)


@dataclass(frozen=True, slots=True)
class _Shape:
    """One shape on one product, and what is known of it."""

    facts: ModelFacts
    pool: GpuPool
    tensor: int
    pipeline: int
    measured: Mapping[str, Measured]

    def judge(self, request: Request) -> Verdict:
        """Judge it by the model, and by what the engine measured with the same flags if it did."""
        verdict = assess(self.facts, self.pool, request, self.tensor, self.pipeline)
        if not self.measured or verdict.memory is None:
            return verdict
        key = measurement_key(self.facts.digest, self.pool.product, request.engine_version, verdict.flags)
        seen = self.measured.get(key)
        if seen is None:
            return verdict
        return assess(self.facts, self.pool, request, self.tensor, self.pipeline, measured=seen)


def _best(shape: _Shape, request: Request) -> Verdict:
    """Return the verdict with the fewest concessions that fits, else the one without any."""
    first = shape.judge(request)
    if first.label is not Label.DOES_NOT_FIT:
        return first
    changed = list(_concessions(shape.pool, request))
    if not changed or not shape.judge(changed[-1][0]).fits:
        return first
    for other, gave_up in changed:
        verdict = shape.judge(other)
        if verdict.fits:
            return replace(verdict, gave_up=gave_up)
    return first


def _concessions(pool: GpuPool, request: Request) -> Iterator[tuple[Request, tuple[str, ...]]]:
    """What is given up before another GPU is taken, the least first; the last one gives up everything."""
    asked = sequences_of(pool, request)
    fewest = max(min(asked, _FEWEST_SEQUENCES), asked // 8)
    fewer = [] if request.keep_seqs else [n for n in (asked // 2, asked // 4, asked // 8) if n >= fewest]
    steps: list[tuple[int, tuple[str, ...]]] = [(n, (f"{n} sequences instead of {asked}",)) for n in fewer]
    for sequences, words_of_it in steps:
        yield replace(request, max_num_seqs=sequences), words_of_it
    least: tuple[int, tuple[str, ...]] = steps[-1] if steps else (asked, ())
    if request.kv_cache == "fp8IfNeeded":
        for sequences, words_of_it in ((asked, ()), *steps):
            changed = replace(request, max_num_seqs=sequences, kv_cache="fp8")
            yield changed, (*words_of_it, "an 8-bit KV cache")
        request = replace(request, kv_cache="fp8")
        least = (least[0], (*least[1], "an 8-bit KV cache"))
    if not request.enforce_eager:
        for largest in _FEWER_GRAPHS:
            if largest < (request.largest_graph or 2 * least[0]):
                changed = replace(request, max_num_seqs=least[0], largest_graph=largest)
                yield changed, (*least[1], f"CUDA graphs up to {largest} sequences only")


def _cost(attempt: tuple[GpuPool, Sequence[Verdict]]) -> tuple[int, int, str]:
    pool, tried = attempt
    return (tried[-1].gpus, pool.memory_mebibytes, pool.product)


def _refused(
    facts: ModelFacts,
    attempts: Sequence[tuple[GpuPool, Sequence[Verdict]]],
    request: Request,
    candidates: tuple[Candidate, ...],
) -> Refused:
    verdicts = [candidate.verdict for candidate in candidates]
    impossible = bool(verdicts) and not any(verdict.valid for verdict in verdicts)
    sentences = [
        words.attempt(pool, tried) if tried else offers.nothing_to_try(pool, request)
        for pool, tried in attempts
    ]
    pools = [pool for pool, _ in attempts]
    larger = _free(facts, pools, request), _over_nodes(facts, pools, request)
    offer = offers.counter_offer(facts, [(c.pool, c.verdict) for c in candidates], request, larger)
    return Refused(
        reason=Reason.INVALID if impossible else Reason.DOES_NOT_FIT,
        message=words.refusal([*sentences, offer]),
        candidates=candidates,
    )


def _free(facts: ModelFacts, pools: Sequence[GpuPool], request: Request) -> str:
    """Say what would fit if the user pinned nothing; empty where nothing is pinned or nothing fits."""
    if request.tensor is None and request.pipeline is None:
        return ""
    found = search(facts, pools, replace(request, tensor=None, pipeline=None))
    if isinstance(found, Refused):
        return ""
    shape = words.shape(found.tensor_parallel_size, found.pipeline_parallel_size)
    return f"without the pinned sizes {shape} of {found.accelerator} fits"


def _over_nodes(facts: ModelFacts, pools: Sequence[GpuPool], request: Request) -> str:
    """Say what several nodes like the largest would hold together; empty where that was asked or they do not.

    It is an offer, not a plan: a replica of a deployment is one pod, and so stays on one node.
    """
    whole = [pool for pool in pools if not pool.is_slice]
    if request.nodes > 1 or request.tensor is not None or request.pipeline is not None or not whole:
        return ""
    for nodes in _MORE_NODES:
        alike = [replace(pool, more_nodes=(pool.gpus_per_node,) * (nodes - 1)) for pool in whole]
        attempts = [(pool, _try_pool(facts, pool, _on_nodes(request, pool, nodes), {}, {})) for pool in alike]
        fitting = [(pool, tried) for pool, tried in attempts if tried and tried[-1].fits]
        if fitting:
            pool, (*_, found) = min(fitting, key=_cost)
            shape = words.shape(found.tensor, found.pipeline)
            return f"{shape} of {pool.product} over {nodes} nodes, where one replica may span them"
    return ""


def _on_nodes(request: Request, pool: GpuPool, nodes: int) -> Request:
    """Ask for more GPUs than one node has."""
    return replace(request, nodes=nodes, least_gpus=max(request.least_gpus, pool.gpus_per_node + 1))
