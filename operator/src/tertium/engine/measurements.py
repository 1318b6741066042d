"""What a vLLM that started says of its memory in its log. Pure: text in, values out.

The texts are vLLM's own from 0.6 to 0.32: `gpu_worker.py`, `gpu_model_runner.py`, `kv_cache_utils.py`.
Every rank may say it: the worst of them counts, the most used and the least left.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tertium.core.planner import Measured
from tertium.engine.log import bare_lines

_GIB: Final = r"(-?\d+(?:\.\d+)?) ?G(?:i)?B"
_WEIGHTS: Final = re.compile(
    rf"(?:Model loading took|Loading model weights took|model weights take|Actual usage is) {_GIB}"
    r"(?! for consumed memory)"
)
_CONSUMED: Final = re.compile(rf"Actual usage is {_GIB} for consumed memory")
_ACTIVATION: Final = re.compile(
    rf"(?:{_GIB} for peak activation|PyTorch activation peak memory takes {_GIB})"
)
_NON_TORCH: Final = re.compile(rf"(?:{_GIB} for non-torch memory|non_torch_memory takes {_GIB})")
_GRAPH: Final = re.compile(
    rf"(?:CUDA graph pool memory: {_GIB} \(actual\)|Graph capturing finished in \d+ secs?, took {_GIB})"
)
_GRAPH_ESTIMATE: Final = re.compile(rf"Estimated CUDA graph memory: {_GIB} total")
_ESTIMATE_IN_BUDGET: Final = "CUDA graph memory profiling is enabled"
_AVAILABLE: Final = re.compile(
    rf"(?:Available KV cache memory: {_GIB}|memory reserved for KV Cache is {_GIB})"
)


def measured(log: str) -> Measured:
    """Return the parts of one GPU's memory in MiB as the engine measured them; None where it does not say.

    From the version on that says that CUDA graphs are profiled, their estimate is in the engine's budget and
    in its peak of activation: there the estimate is the part, and activation is without it here.
    """
    lines = bare_lines(log)
    weights, consumed = _most(_WEIGHTS, lines), _most(_CONSUMED, lines)
    activation, non_torch, graph = _most(_ACTIVATION, lines), _most(_NON_TORCH, lines), _most(_GRAPH, lines)
    estimate = _most(_GRAPH_ESTIMATE, lines)
    if estimate is not None and any(_ESTIMATE_IN_BUDGET in line for line in lines):
        graph, activation = estimate, None if activation is None else max(0.0, activation - estimate)
    if consumed is not None and weights is not None:
        non_torch = max(0.0, consumed - weights)
    available = [float(number) for number in _numbers(_AVAILABLE, lines)]
    return Measured(
        weights=_mebibytes(weights),
        activation=_mebibytes(activation),
        non_torch=_mebibytes(non_torch),
        cuda_graph=_mebibytes(graph),
        available_kv=_mebibytes(min(available, default=None)),
    )


def _most(pattern: re.Pattern[str], lines: Sequence[str]) -> float | None:
    return max(map(float, _numbers(pattern, lines)), default=None)


def _numbers(pattern: re.Pattern[str], lines: Sequence[str]) -> list[str]:
    found = (pattern.search(line) for line in lines)
    return [next(group for group in match.groups() if group) for match in found if match is not None]


def _mebibytes(gibibytes: float | None) -> int | None:
    return None if gibibytes is None else round(gibibytes * 1024)
