"""The plan, or why there is none, as users read it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.planner import (
    GpuPool,
    Measured,
    ModelFacts,
    Refused,
    Repair,
    Sizing,
    judge,
    measurement_key,
    repair_key,
    search,
    size,
)
from tests.planner.models import (
    H100,
    L4,
    LLAMA_8B,
    LLAMA_8B_BYTES,
    LLAMA_70B,
    LLAMA_70B_BYTES,
    MEDIUM,
    PHI_4,
    PHI_4_BYTES,
    QWEN3_6_27B,
    SMALL,
    SMOLLM2,
    SMOLLM2_BYTES,
    TINY_LLAMA,
    TINY_LLAMA_BYTES,
    facts,
    request,
    spec,
)

smollm2 = facts(SMOLLM2, SMOLLM2_BYTES)
tiny_llama = facts(TINY_LLAMA, TINY_LLAMA_BYTES)
llama = facts(LLAMA_8B, LLAMA_8B_BYTES)
llama_70b = facts(LLAMA_70B)
phi = facts(PHI_4, PHI_4_BYTES)
L4_ALONE = replace(L4, gpus_per_node=1)
H100_PAIR = replace(H100, gpus_per_node=2)


def plan(model: ModelFacts, pools: list[GpuPool], wanted: LLMDeploymentSpec, **known: Any) -> Sizing:
    found = size(model, pools, wanted, **known)
    assert isinstance(found, Sizing), found
    return found


@pytest.mark.parametrize(
    ("model", "pools", "wanted", "product", "gpus"),
    [
        pytest.param(
            smollm2, [MEDIUM], spec(context=2048, sequences=16), MEDIUM.product, 1, id="SmolLM2 takes one GPU"
        ),
        pytest.param(
            tiny_llama,
            [SMALL],
            spec(context=32768, sequences=4),
            SMALL.product,
            2,
            id="the KV cache of the tiny llama takes a second small GPU",
        ),
        pytest.param(llama, [L4], spec(), L4.product, 1, id="llama 8B with 8,192 tokens fits one L4"),
        pytest.param(llama, [L4], spec(context=65536), L4.product, 2, id="with 65,536 it takes two"),
        pytest.param(llama, [L4, H100], spec(context=65536), H100.product, 1, id="fewest GPUs come first"),
        pytest.param(llama, [H100, L4], spec(), L4.product, 1, id="then least memory"),
        pytest.param(
            llama,
            [L4, H100],
            spec(context=65536, products=(L4.product, H100.product)),
            L4.product,
            2,
            id="the spec's order goes before both",
        ),
        pytest.param(
            phi, [L4, H100], spec(products=(L4.product, H100.product)), L4.product, 2, id="phi-4 on two L4"
        ),
        pytest.param(
            llama,
            [H100],
            spec(products=("NVIDIA-B200", H100.product)),
            H100.product,
            1,
            id="absent ones are skipped",
        ),
        pytest.param(llama, [L4], spec(tensor=4), L4.product, 4, id="a pinned size is taken when it fits"),
    ],
)
def test_the_smallest_world_that_holds_a_replica(
    model: ModelFacts, pools: list[GpuPool], wanted: LLMDeploymentSpec, product: str, gpus: int
) -> None:
    found = plan(model, pools, wanted)
    assert (found.accelerator, found.gpus_per_replica) == (product, gpus)


def test_stages_come_when_no_split_within_a_node_does() -> None:
    # phi-4 can be split over two ranks only, and two of these GPUs do not hold it: three stages do.
    found = search(phi, [replace(L4, memory_mebibytes=12000, gpus_per_node=4)], request(4096, 8))
    assert isinstance(found, Sizing)
    assert (found.tensor_parallel_size, found.pipeline_parallel_size, found.nodes) == (1, 3, 1)
    assert "--pipeline-parallel-size=3" in found.flags


@pytest.mark.parametrize(
    ("pool", "nodes", "shape"),
    [
        pytest.param(replace(H100_PAIR, more_nodes=(2,)), 2, (2, 2), id="two nodes of two, a stage on each"),
        pytest.param(replace(H100_PAIR, more_nodes=(1,)), 2, None, id="the second node is too small"),
        pytest.param(replace(H100_PAIR, more_nodes=(2,)), 1, None, id="one node only is allowed"),
    ],
)
def test_stages_over_nodes(pool: GpuPool, nodes: int, shape: tuple[int, int] | None) -> None:
    found = search(llama_70b, [pool], request(65536, 64, nodes=nodes))
    if shape is None:
        assert isinstance(found, Refused)
    else:
        assert isinstance(found, Sizing)
        assert (found.tensor_parallel_size, found.pipeline_parallel_size) == shape
        assert found.nodes == 2


@pytest.mark.parametrize(
    ("model", "pool", "asked", "gpus", "gave_up"),
    [
        pytest.param(
            llama,
            L4,
            {"context": 20000, "sequences": 1024},
            1,
            ("512 sequences instead of 1024",),
            id="fewer sequences come before a second GPU",
        ),
        pytest.param(
            llama,
            L4,
            {"context": 20000, "sequences": 1024, "keep_seqs": True},
            2,
            (),
            id="unless their number is pinned",
        ),
        pytest.param(
            llama,
            L4,
            {"context": 40000, "sequences": 8, "kv_cache": "fp8IfNeeded"},
            1,
            ("an 8-bit KV cache",),
            id="an 8-bit cache where it is allowed",
        ),
        pytest.param(llama, L4, {"context": 40000, "sequences": 8}, 2, (), id="not where it is not"),
        pytest.param(
            llama,
            L4,
            {"context": 28000, "sequences": 256, "keep_seqs": True},
            1,
            ("CUDA graphs up to 64 sequences only",),
            id="fewer graphs",
        ),
        pytest.param(
            facts(QWEN3_6_27B),
            H100,
            {"sequences": 1024},
            1,
            ("256 sequences instead of 1024",),
            id="a recurrent model runs as many sequences as its cache has blocks",
        ),
    ],
)
def test_what_is_given_up_before_another_gpu_is_taken(
    model: ModelFacts, pool: GpuPool, asked: dict[str, Any], gpus: int, gave_up: tuple[str, ...]
) -> None:
    found = search(model, [pool], request(**asked))
    assert isinstance(found, Sizing)
    assert (found.gpus_per_replica, found.verdict.gave_up) == (gpus, gave_up)
    assert all(words in found.why for words in gave_up)


def test_a_plan_says_why_with_the_arithmetic() -> None:
    found = plan(tiny_llama, [SMALL], spec(context=32768, sequences=4))
    assert found.why == (
        "Fake-GPU-2GB (1,829 of 1,987 MiB usable per GPU): "
        "1 GPU: needs weights 133 + overhead 575 + KV cache 1,025 = 1,733 MiB and a margin of 99; "
        "2 GPUs: fits, weights 69 + overhead 1,014 + KV cache 513 = 1,596 MiB, headroom 233"
    )


def test_a_plan_says_why_a_preferred_product_is_not_taken() -> None:
    found = plan(phi, [L4_ALONE, H100], spec(products=("NVIDIA-L4", H100.product)))
    assert found.why.startswith("NVIDIA-L4: does not fit on 1 GPU. NVIDIA-H100-80GB-HBM3 (")


def test_everything_that_was_tried_is_kept() -> None:
    found = plan(phi, [L4, H100], spec(products=(L4.product, H100.product)))
    tried = [(one.pool.product, one.verdict.gpus, one.verdict.fits) for one in found.candidates]
    assert tried == [(L4.product, 1, False), (L4.product, 2, True), (H100.product, 1, True)]


def test_the_status_shows_the_plan_in_the_api_s_words() -> None:
    shown = plan(tiny_llama, [SMALL], spec(context=32768, sequences=4)).status().model_dump(by_alias=True)
    assert shown["memoryPerGpu"] == {
        "totalMebibytes": 1987,
        "weightsMebibytes": 69,
        "activationMebibytes": 65,
        "nonTorchMebibytes": 717,
        "cudaGraphMebibytes": 232,
        "kvCacheMebibytes": 513,
        "headroomMebibytes": 233,
    }
    sizes = (
        "gpusPerReplica",
        "tensorParallelSize",
        "pipelineParallelSize",
        "nodes",
        "maxConcurrentSequences",
    )
    assert [shown[name] for name in sizes] == [2, 2, 1, 1, 4]


def test_what_the_engine_measured_is_used_for_the_same_flags_only() -> None:
    wanted = request(40000, 8)
    before = search(llama, [L4], wanted)
    assert isinstance(before, Sizing)
    assert before.gpus_per_replica == 2
    flags = before.candidates[0].verdict.flags
    key = measurement_key(llama.digest, L4.product, "0.32.0", flags)
    after = search(llama, [L4], wanted, measured={key: Measured(available_kv=6000)})
    assert isinstance(after, Sizing)
    assert after.gpus_per_replica == 1
    other = measurement_key(llama.digest, L4.product, "0.31.0", flags)
    assert search(llama, [L4], wanted, measured={other: Measured(available_kv=6000)}) == before


@pytest.mark.parametrize(
    ("repair", "gpus", "flag", "words"),
    [
        pytest.param(
            Repair(least_gpus=2),
            2,
            "--max-num-seqs=64",
            "it did not start on fewer than 2 GPUs",
            id="it needs more GPUs than computed",
        ),
        pytest.param(
            Repair(max_num_seqs=16),
            1,
            "--max-num-seqs=16",
            "it started with at most 16 sequences",
            id="it holds fewer sequences",
        ),
        pytest.param(
            Repair(enforce_eager=True),
            1,
            "--enforce-eager",
            "it did not start with CUDA graphs",
            id="it has no room for graphs",
        ),
    ],
)
def test_a_start_that_failed_changes_the_plan_for_its_product(
    repair: Repair, gpus: int, flag: str, words: str
) -> None:
    known = {repair_key(llama.digest, L4.product, "0.32.0"): repair}
    found = plan(llama, [L4], spec(), repairs=known)
    assert found.gpus_per_replica == gpus
    assert flag in found.flags
    assert found.why.endswith(f". Learned from the engine: {words}")
    assert plan(llama, [H100], spec(), repairs=known) == plan(llama, [H100], spec())


@pytest.mark.parametrize(
    ("model", "pools", "wanted", "reason", "message"),
    [
        pytest.param(
            smollm2,
            [MEDIUM],
            spec(context=8193),
            Reason.INVALID,
            "spec.capacity.contextTokens: 8,193 is more than the 8,192 tokens this model takes; "
            "set it to 8192 or less",
            id="a context longer than the model's is impossible",
        ),
        pytest.param(
            phi,
            [H100],
            spec(tensor=3),
            Reason.INVALID,
            "spec.parallelism.tensor: 3 is impossible for this model: 40 attention heads do not divide by 3; "
            "up to 16 GPUs it can be split over 1 or 2",
            id="a pinned size that breaks a rule is impossible",
        ),
        pytest.param(
            llama,
            [L4_ALONE],
            spec(context=65536, tensor=1),
            Reason.DOES_NOT_FIT,
            "NVIDIA-L4 (20,726 of 22,528 MiB usable per GPU): 1 GPU: needs weights 15,349 + overhead 1,080 + "
            "KV cache 8,194 = 24,623 MiB and a margin of 512. "
            "What works: a context of up to 30256 tokens fits on 1 GPU of NVIDIA-L4; 1 GPU of RTX-5090",
            id="a refusal offers the longest context and the next GPU",
        ),
        pytest.param(
            llama,
            [L4],
            spec(tensor=16),
            Reason.DOES_NOT_FIT,
            "NVIDIA-L4: no node has more than 8 GPUs for 16 GPUs. "
            "What works: without the pinned sizes 1 GPU of NVIDIA-L4 fits",
            id="a pinned size that no node has",
        ),
        pytest.param(
            llama,
            [],
            spec(),
            Reason.NO_ACCELERATOR,
            "no schedulable node has nvidia.com/gpu together with the labels nvidia.com/gpu.product and "
            "nvidia.com/gpu.memory, which NVIDIA's GPU feature discovery sets",
            id="a cluster without labelled GPUs",
        ),
        pytest.param(
            llama,
            [L4, H100],
            spec(products=("NVIDIA-B200", "NVIDIA-H200")),
            Reason.NO_ACCELERATOR,
            "spec.accelerators: no node has NVIDIA-B200 or NVIDIA-H200; "
            "the cluster has NVIDIA-L4, NVIDIA-H100-80GB-HBM3",
            id="products that the cluster does not have",
        ),
    ],
)
def test_a_refusal_says_what_would_work(
    model: ModelFacts, pools: list[GpuPool], wanted: LLMDeploymentSpec, reason: Reason, message: str
) -> None:
    found = size(model, pools, wanted)
    assert isinstance(found, Refused)
    assert (found.message, found.reason) == (message, reason)


def test_what_only_several_nodes_would_hold_is_said_to_be_so() -> None:
    llama_70b, four = facts(LLAMA_70B, LLAMA_70B_BYTES), replace(L4, gpus_per_node=4)
    found = size(llama_70b, [four], spec())
    assert isinstance(found, Refused)
    assert found.message.endswith(
        "What works: 4 GPUs of A100; 8 GPUs in 2 stages of 4 of NVIDIA-L4 over 2 nodes, "
        "where one replica may span them"
    )
    asked = replace(request(), nodes=2)
    over_two = search(llama_70b, [replace(four, more_nodes=(4,))], asked)
    assert isinstance(over_two, Sizing)
    assert (over_two.tensor_parallel_size, over_two.pipeline_parallel_size, over_two.nodes) == (4, 2, 2)


def test_a_product_that_cannot_run_it_is_told_once_and_another_is_offered() -> None:
    t4 = GpuPool(product="Tesla-T4", memory_mebibytes=14909, gpus_per_node=2)
    found = size(llama, [t4], spec(kv_cache="fp8"))
    assert isinstance(found, Refused)
    assert (found.reason, found.message) == (
        Reason.INVALID,
        "Tesla-T4 (14,909 MiB usable per GPU): Tesla-T4 cannot keep a KV cache of 8 bits; that needs "
        "capability 8.0 or later. What works: 1 GPU of A10",
    )


def test_slices_of_gpus_are_not_offered_over_nodes() -> None:
    sliced = GpuPool(product="NVIDIA-H100-MIG-1g.10gb", memory_mebibytes=9800, gpus_per_node=1)
    found = size(facts(LLAMA_8B), [sliced], spec())
    assert isinstance(found, Refused)
    assert "over 2 nodes" not in found.message


def test_the_context_a_refusal_offers_fits_and_the_next_token_does_not() -> None:
    offered = judge(llama, L4_ALONE, request(65536), 1).longest_context
    assert judge(llama, L4_ALONE, request(offered), 1).fits
    assert not judge(llama, L4_ALONE, request(offered + 1), 1).fits


def test_a_refusal_is_not_longer_than_a_condition_may_be() -> None:
    pools = [replace(L4, product=f"{'x' * 60}{number:03}") for number in range(24)]
    found = search(facts(LLAMA_70B, 1 << 42), pools, request(131072))
    assert isinstance(found, Refused)
    assert len(found.message) < 4096
    assert found.message.endswith("use GPUs with more memory or nodes with more of them")
