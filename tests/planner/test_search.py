"""The plan, or why there is none, as users read it."""

from __future__ import annotations

import pytest

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.planner import GpuPool, ModelFacts, Refused, Sizing, size
from tests.planner.models import (
    H100,
    L4,
    LLAMA_8B,
    LLAMA_8B_BYTES,
    MEDIUM,
    PHI_4,
    PHI_4_BYTES,
    SMALL,
    SMOLLM2,
    SMOLLM2_BYTES,
    TINY_LLAMA,
    TINY_LLAMA_BYTES,
    facts,
    spec,
)

smollm2 = facts(SMOLLM2, SMOLLM2_BYTES)
tiny_llama = facts(TINY_LLAMA, TINY_LLAMA_BYTES)
llama = facts(LLAMA_8B, LLAMA_8B_BYTES)
phi = facts(PHI_4, PHI_4_BYTES)


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
    plan = size(model, pools, wanted)
    assert isinstance(plan, Sizing), plan
    assert (plan.accelerator, plan.gpus_per_replica) == (product, gpus)


def test_a_plan_states_every_assumption_as_a_flag() -> None:
    plan = size(tiny_llama, [SMALL], spec(context=32768, sequences=4))
    assert isinstance(plan, Sizing)
    assert plan.flags == (
        "--tensor-parallel-size=2",
        "--max-model-len=32768",
        "--max-num-seqs=4",
        "--max-num-batched-tokens=2048",
        "--gpu-memory-utilization=0.92",
    )


def test_a_plan_says_why_with_the_arithmetic() -> None:
    plan = size(tiny_llama, [SMALL], spec(context=32768, sequences=4))
    assert isinstance(plan, Sizing)
    assert plan.why == (
        "Fake-GPU-2GB (1,828 of 2,048 MiB usable per GPU): "
        "1 GPU: needs weights 129 + overhead 759 + KV cache 1,025 = 1,913 MiB; "
        "2 GPUs: fits, weights 66 + overhead 1,165 + KV cache 513 = 1,744 MiB, headroom 84"
    )


def test_a_plan_says_why_a_preferred_product_is_not_taken() -> None:
    one_l4 = GpuPool(product="NVIDIA-L4", memory_mebibytes=23034, gpus_per_node=1)
    plan = size(phi, [one_l4, H100], spec(products=("NVIDIA-L4", H100.product)))
    assert isinstance(plan, Sizing)
    assert plan.why.startswith("NVIDIA-L4: does not fit on 1 GPU. NVIDIA-H100-80GB-HBM3 (")


def test_the_status_shows_the_plan_in_the_api_s_words() -> None:
    plan = size(tiny_llama, [SMALL], spec(context=32768, sequences=4))
    assert isinstance(plan, Sizing)
    shown = plan.status().model_dump(by_alias=True)
    assert shown["memoryPerGpu"] == {
        "totalMebibytes": 2048,
        "weightsMebibytes": 66,
        "overheadMebibytes": 1165,
        "kvCacheMebibytes": 513,
        "headroomMebibytes": 84,
    }
    assert (shown["gpusPerReplica"], shown["tensorParallelSize"]) == (2, 2)


L4_ALONE = GpuPool(product="NVIDIA-L4", memory_mebibytes=23034, gpus_per_node=1)


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
            [L4],
            spec(context=65536, tensor=1),
            Reason.DOES_NOT_FIT,
            "NVIDIA-L4 (20,720 of 23,034 MiB usable per GPU): 1 GPU: needs weights 15,317 + overhead 1,622 + "
            "KV cache 8,194 = 25,133 MiB. spec.parallelism.tensor: 2 fits on NVIDIA-L4",
            id="a pinned size that is too small names the one that fits",
        ),
        pytest.param(
            llama,
            [L4],
            spec(tensor=16),
            Reason.DOES_NOT_FIT,
            "NVIDIA-L4 (20,720 of 23,034 MiB usable per GPU): 16 GPUs: no node has more than 8. "
            "spec.parallelism.tensor: 1 fits on NVIDIA-L4",
            id="a pinned size that no node has",
        ),
        pytest.param(
            llama,
            [L4_ALONE],
            spec(context=65536),
            Reason.DOES_NOT_FIT,
            "NVIDIA-L4 (20,720 of 23,034 MiB usable per GPU): 1 GPU: needs weights 15,317 + overhead 1,622 + "
            "KV cache 8,194 = 25,133 MiB. "
            "spec.capacity.contextTokens: up to 30224 fits on 1 GPU of NVIDIA-L4",
            id="a refusal offers the longest context that fits",
        ),
        pytest.param(
            phi,
            [L4_ALONE],
            spec(tensor=1),
            Reason.DOES_NOT_FIT,
            "NVIDIA-L4 (20,720 of 23,034 MiB usable per GPU): 1 GPU: needs weights 27,961 + overhead 1,729 + "
            "KV cache 1,604 = 31,294 MiB. "
            "Not even the shortest context fits; use GPUs with more memory or nodes with more of them",
            id="weights that do not fit leave nothing to offer",
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
    assert size(model, pools, wanted) == Refused(reason=reason, message=message)


def test_the_context_a_refusal_offers_fits_and_the_next_block_does_not() -> None:
    assert isinstance(size(llama, [L4_ALONE], spec(context=30224)), Sizing)
    assert isinstance(size(llama, [L4_ALONE], spec(context=30225)), Refused)
