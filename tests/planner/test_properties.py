"""What must hold for any model on any cluster."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.planner import GpuPool, ModelFacts, Refused, Sizing, size
from tertium.core.planner.legal import violation
from tests.planner.models import spec

MODELS = st.builds(
    lambda layers, dim, kv, groups, width, vocabulary, gibibytes: ModelFacts(
        layers=layers,
        hidden=dim * kv * groups,
        heads=kv * groups,
        kv_heads=kv,
        head_dim=dim,
        intermediate=width * 64,
        vocabulary=vocabulary,
        max_positions=None,
        latent_bytes_per_token=0,
        mixture_of_experts=False,
        weight_bytes=gibibytes << 30,
    ),
    layers=st.integers(1, 120),
    dim=st.sampled_from([64, 80, 96, 128, 256]),
    kv=st.integers(1, 32),
    groups=st.integers(1, 16),
    width=st.integers(8, 512),
    vocabulary=st.integers(1000, 300_000),
    gibibytes=st.integers(0, 800),
)
POOLS = st.builds(
    GpuPool,
    product=st.sampled_from(["NVIDIA-L4", "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-PCIE-40GB", "x" * 63]),
    memory_mebibytes=st.integers(1024, 300_000),
    gpus_per_node=st.integers(1, 16),
)
SPECS = st.builds(
    spec,
    context=st.integers(16, 1_000_000),
    sequences=st.integers(1, 1024),
    products=st.just(()),
    tensor=st.none() | st.integers(1, 16),
)


@given(
    model=MODELS, pools=st.lists(POOLS, min_size=1, max_size=4, unique_by=lambda p: p.product), wanted=SPECS
)
def test_an_accepted_plan_is_legal_and_fits_a_node(
    model: ModelFacts, pools: list[GpuPool], wanted: LLMDeploymentSpec
) -> None:
    plan = size(model, pools, wanted)
    if isinstance(plan, Refused):
        assert plan.message
        return
    pool = next(pool for pool in pools if pool.product == plan.accelerator)
    assert plan.gpus_per_replica <= pool.gpus_per_node
    assert violation(model, plan.tensor_parallel_size) is None
    assert plan.memory.needed <= plan.memory.budget < pool.memory_mebibytes
    plan.status()


@given(model=MODELS, pool=POOLS, more=st.integers(0, 100_000), context=st.integers(16, 1_000_000))
def test_more_memory_never_needs_more_gpus(model: ModelFacts, pool: GpuPool, more: int, context: int) -> None:
    # The engine's batch grows once, where GPUs count as large: there the rule may not hold.
    larger = replace(pool, memory_mebibytes=pool.memory_mebibytes + more)
    if pool.memory_mebibytes < 70 * 1024 <= larger.memory_mebibytes:
        return
    before, after = (size(model, [one], spec(context=context)) for one in (pool, larger))
    if isinstance(before, Sizing):
        assert isinstance(after, Sizing)
        assert after.gpus_per_replica <= before.gpus_per_replica


@given(model=MODELS, pool=POOLS, context=st.integers(16, 500_000), more=st.integers(0, 500_000))
def test_a_shorter_context_never_needs_more_gpus(
    model: ModelFacts, pool: GpuPool, context: int, more: int
) -> None:
    longer, shorter = (size(model, [pool], spec(context=tokens)) for tokens in (context + more, context))
    if isinstance(longer, Sizing):
        assert isinstance(shorter, Sizing)
        assert shorter.gpus_per_replica <= longer.gpus_per_replica


@given(
    model=MODELS, pools=st.lists(POOLS, min_size=1, max_size=4, unique_by=lambda p: p.product), wanted=SPECS
)
def test_the_order_of_nodes_does_not_change_the_plan(
    model: ModelFacts, pools: list[GpuPool], wanted: LLMDeploymentSpec
) -> None:
    plans = [size(model, order, wanted) for order in (pools, pools[::-1])]
    if all(isinstance(plan, Sizing) for plan in plans):
        assert plans[0] == plans[1]
    assert type(plans[0]) is type(plans[1])
