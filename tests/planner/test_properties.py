"""What must hold for any model on any cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.core.planner import GpuPool, ModelFacts, Refused, Request, Sizing, search
from tertium.core.planner.legal import violation
from tertium.core.planner.releases import releases_of
from tests.planner.models import DEEPSEEK_V3, GPT_OSS_120B, KIMI_LINEAR, LLAMA_8B, MIXTRAL, QWEN3_6_27B


def _llama(*, layers: int, dim: int, kv: int, groups: int, width: int, vocabulary: int) -> dict[str, Any]:
    return LLAMA_8B | {
        "num_hidden_layers": layers,
        "hidden_size": dim * kv * groups,
        "num_attention_heads": kv * groups,
        "num_key_value_heads": kv,
        "head_dim": dim,
        "intermediate_size": width * 64,
        "vocab_size": vocabulary,
        "max_position_embeddings": 1 << 24,
    }


CONFIGS = st.sampled_from([DEEPSEEK_V3, GPT_OSS_120B, KIMI_LINEAR, MIXTRAL, QWEN3_6_27B]) | st.builds(
    _llama,
    layers=st.integers(1, 120),
    dim=st.sampled_from([64, 80, 96, 128, 256]),
    kv=st.integers(1, 32),
    groups=st.integers(1, 16),
    width=st.integers(8, 512),
    vocabulary=st.integers(1000, 300_000),
)
MODELS = st.builds(
    lambda config, gibibytes: ModelFacts.of(config, weight_bytes=gibibytes << 30),
    config=CONFIGS,
    gibibytes=st.integers(1, 800),
)
POOLS = st.builds(
    GpuPool,
    product=st.sampled_from(["NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-PCIE-40GB", "x" * 63]),
    memory_mebibytes=st.integers(1024, 300_000),
    gpus_per_node=st.sampled_from([1, 2, 4, 8]),
)
REQUESTS = st.builds(
    Request,
    context_tokens=st.integers(16, 120_000),
    max_num_seqs=st.integers(1, 1024) | st.none(),
    kv_cache=st.sampled_from(["auto", "fp8IfNeeded", "fp8"]),
    tensor=st.none() | st.integers(1, 16),
    engine_version=st.sampled_from(["0.32.0", "0.19.0", ""]),
)


@settings(max_examples=15, deadline=None)
@given(
    model=MODELS,
    pools=st.lists(POOLS, min_size=1, max_size=3, unique_by=lambda p: p.product),
    wanted=REQUESTS,
)
def test_an_accepted_plan_is_legal_and_fits_a_node(
    model: ModelFacts, pools: list[GpuPool], wanted: Request
) -> None:
    plan = search(model, pools, wanted)
    if isinstance(plan, Refused):
        assert 0 < len(plan.message) < 4096
        return
    assert plan.gpus_per_replica <= plan.pool.gpus_per_node
    shape = plan.tensor_parallel_size, plan.pipeline_parallel_size
    assert None in [violation(model, release, *shape) for release in releases_of(wanted.engine_version)]
    memory = plan.memory
    assert memory.needed + memory.margin <= memory.budget <= plan.pool.memory_mebibytes
    assert plan.status().why


@settings(max_examples=15, deadline=None)
@given(model=MODELS, pool=POOLS, more=st.integers(0, 100_000), wanted=REQUESTS)
def test_more_memory_never_needs_more_gpus(
    model: ModelFacts, pool: GpuPool, more: int, wanted: Request
) -> None:
    # The engine's batch grows where GPUs count as large: there the rule may not hold.
    larger = replace(pool, memory_mebibytes=pool.memory_mebibytes + more)
    fixed = replace(wanted, max_num_seqs=wanted.max_num_seqs or 64, max_num_batched_tokens=2048)
    before, after = (search(model, [one], fixed) for one in (pool, larger))
    if isinstance(before, Sizing):
        assert isinstance(after, Sizing)
        assert after.gpus_per_replica <= before.gpus_per_replica


@settings(max_examples=15, deadline=None)
@given(model=MODELS, pool=POOLS, wanted=REQUESTS, less=st.integers(0, 100_000))
def test_a_shorter_context_never_needs_more_gpus(
    model: ModelFacts, pool: GpuPool, wanted: Request, less: int
) -> None:
    # An engine without chunked prefill prefills at once below 32,768 tokens only: there it may not hold.
    wanted = replace(wanted, engine_version="0.32.0")
    shorter = replace(wanted, context_tokens=max(16, wanted.context_tokens - less))
    before, after = (search(model, [pool], one) for one in (wanted, shorter))
    if isinstance(before, Sizing):
        assert isinstance(after, Sizing)
        assert after.gpus_per_replica <= before.gpus_per_replica


@settings(max_examples=15, deadline=None)
@given(
    model=MODELS,
    pools=st.lists(POOLS, min_size=1, max_size=3, unique_by=lambda p: p.product),
    wanted=REQUESTS,
)
def test_the_order_of_nodes_does_not_change_the_plan(
    model: ModelFacts, pools: list[GpuPool], wanted: Request
) -> None:
    one, other = (search(model, order, wanted) for order in (pools, pools[::-1]))
    assert type(one) is type(other)
    if isinstance(one, Sizing) and isinstance(other, Sizing):
        assert (one.pool, one.verdict) == (other.pool, other.verdict)
