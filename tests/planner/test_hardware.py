"""What a generation of GPUs cannot do is said before any memory is counted."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.planner import GpuPool, Label, judge, known_products
from tertium.core.planner.hardware import capability
from tests.planner.models import GEMMA_2_9B, GLM_5, GPT_OSS_120B, LLAMA_8B, facts, request


@pytest.mark.parametrize(
    ("config", "product", "asked", "words"),
    [
        pytest.param(
            GPT_OSS_120B,
            "Tesla-T4",
            {},
            "Tesla-T4 cannot run MXFP4 weights; that needs capability 8.0 or later",
            id="four bits on Turing",
        ),
        pytest.param(
            LLAMA_8B,
            "Tesla-V100-SXM2-32GB",
            {"kv_cache": "fp8"},
            "Tesla-V100-SXM2-32GB cannot keep a KV cache of 8 bits; that needs capability 8.0 or later",
            id="an 8-bit cache on Volta",
        ),
        pytest.param(
            GEMMA_2_9B,
            "Tesla-T4",
            {},
            "Tesla-T4 cannot compute in bfloat16, and this model does not run in float16",
            id="a model that overflows in float16",
        ),
        pytest.param(
            GLM_5,
            "NVIDIA-A100-SXM4-80GB",
            {},
            "NVIDIA-A100-SXM4-80GB cannot run sparse latent attention; that needs capability 9.0 or later",
            id="sparse attention on Ampere",
        ),
    ],
)
def test_a_gpu_without_the_kernels_is_named(
    config: dict[str, Any], product: str, asked: dict[str, Any], words: str
) -> None:
    pool = GpuPool(product=product, memory_mebibytes=1 << 24, gpus_per_node=8)
    found = judge(facts(config), pool, request(8192, **asked), 1)
    assert (found.label, found.reason) == (Label.INVALID, words)


@pytest.mark.parametrize(
    ("config", "product"),
    [
        pytest.param(GPT_OSS_120B, "NVIDIA-A100-SXM4-80GB", id="four bits on Ampere"),
        pytest.param(GLM_5, "NVIDIA-H200", id="sparse attention on Hopper"),
        pytest.param(GLM_5, "NVIDIA-B200", id="and on Blackwell"),
        pytest.param(GEMMA_2_9B, "Some-GPU-T400", id="an unknown product can do all"),
        pytest.param(LLAMA_8B, "Tesla-T4", id="an ordinary model on Turing"),
    ],
)
def test_a_gpu_with_the_kernels_is_not_refused(config: dict[str, Any], product: str) -> None:
    pool = GpuPool(product=product, memory_mebibytes=1 << 24, gpus_per_node=8)
    assert judge(facts(config), pool, request(8192), 1).fits


@pytest.mark.parametrize(
    ("product", "tenths"),
    [
        pytest.param("NVIDIA-A10", 86, id="A10"),
        pytest.param("NVIDIA-A100-SXM4-80GB", 80, id="A100 is no A10"),
        pytest.param("NVIDIA-L40S", 89, id="L40S"),
        pytest.param("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", 90, id="a slice is as its GPU"),
        pytest.param("NVIDIA-RTX-6000-Ada-Generation", 89, id="Ada"),
        pytest.param("NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition", None, id="later than Hopper"),
    ],
)
def test_the_capability_is_read_from_the_product_s_name(product: str, tenths: int | None) -> None:
    assert capability(product) == tenths


def test_every_known_product_is_later_than_hopper_or_has_its_capability() -> None:
    later = ("GB", "B2", "B3", "RTX-PRO", "RTX-50", "MI3")
    assert [p for p in known_products() if capability(p) is None and not p.startswith(later)] == []
