"""Start-up lines of real vLLM logs, and the memory each version says it uses."""

from __future__ import annotations

import pytest

from tertium.core.planner import Measured
from tertium.engine.measurements import measured

INFO = "(EngineCore pid=97) INFO 11-21 22:04:30 [gpu_worker.py:760] "
NOW_WITH_ESTIMATE = f"""
{INFO}Model loading took 14.99 GiB memory and 3.120000 seconds
{INFO}Estimated CUDA graph memory: 0.53 GiB total
{INFO}Available KV cache memory: 51.38 GiB
{INFO}CUDA graph memory profiling is enabled (default since v0.21.0). The current ...
{INFO}GPU KV cache size: 420,896 tokens, Maximum concurrency for 16,384 tokens per request: 25.69x
{INFO}Graph capturing finished in 9 secs, took 0.61 GiB
{INFO}CUDA graph pool memory: 0.61 GiB (actual), 0.53 GiB (estimated), difference: 0.08 GiB (13.1%).
{INFO}Free memory on device (78.6/79.18 GiB) on startup. Desired GPU memory utilization is (0.92, 72.85 \
GiB). Actual \
usage is 15.12 GiB for consumed memory (weights + non-torch), 5.29 GiB for peak activation, and 0.61 GiB \
for CUDAGraph \
memory. Replace gpu_memory_utilization config with ...
"""
BEFORE_ESTIMATES = f"""
{INFO}Model loading took 14.2474 GiB and 2.310000 seconds
{INFO}Available KV cache memory: 51.38 GiB
{INFO}GPU KV cache size: 23,648 tokens
{INFO}Maximum concurrency for 4,096 tokens per request: 5.77x
{INFO}Graph capturing finished in 9 secs, took 1.03 GiB
{INFO}Free memory on device (78.6/79.18 GiB) on startup. Desired GPU memory utilization is (0.9, 71.26 \
GiB). Actual \
usage is 14.25 GiB for weight, 4.76 GiB for peak activation, 0.13 GiB for non-torch memory, and 1.03 GiB \
for CUDAGraph \
memory.
"""
OLDEST = """
INFO 03-01 10:00:00 [worker.py:267] the current vLLM instance can use total_gpu_memory (79.10GiB) x \
gpu_memory_utilization (0.90) = 71.19GiB
INFO 03-01 10:00:00 [worker.py:267] model weights take 14.99GiB; non_torch_memory takes 0.13GiB; PyTorch \
activation \
peak memory takes 4.76GiB; the rest of the memory reserved for KV Cache is 51.31GiB.
"""
TWO_RANKS = """
(Worker_TP0 pid=1) INFO 11-21 22:04:30 [gpu_worker.py:760] Model loading took 7.50 GiB memory and 3.1 seconds
(Worker_TP1 pid=2) INFO 11-21 22:04:30 [gpu_worker.py:760] Model loading took 8.00 GiB memory and 3.1 seconds
(Worker_TP0 pid=1) INFO 11-21 22:04:31 [gpu_worker.py:760] Available KV cache memory: 10.00 GiB
(Worker_TP1 pid=2) INFO 11-21 22:04:31 [gpu_worker.py:760] Available KV cache memory: 9.50 GiB
"""


@pytest.mark.parametrize(
    ("log", "parts"),
    [
        pytest.param(
            NOW_WITH_ESTIMATE,
            Measured(weights=15350, activation=4874, non_torch=133, cuda_graph=543, available_kv=52613),
            id="graphs are estimated: the estimate is in the budget, and taken out of the peak",
        ),
        pytest.param(
            BEFORE_ESTIMATES,
            Measured(weights=14592, activation=4874, non_torch=133, cuda_graph=1055, available_kv=52613),
            id="graphs are not estimated",
        ),
        pytest.param(
            OLDEST,
            Measured(weights=15350, activation=4874, non_torch=133, cuda_graph=None, available_kv=52541),
            id="one line with everything",
        ),
        pytest.param(
            TWO_RANKS, Measured(weights=8192, available_kv=9728), id="of several ranks the worst counts"
        ),
        pytest.param("nothing of the kind", Measured(), id="a log that says nothing"),
    ],
)
def test_memory(log: str, parts: Measured) -> None:
    assert measured(log) == parts
