"""Memory besides weights and KV cache, against what start-up logs say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tertium.core.planner import GpuPool
from tertium.core.planner import overhead as parts
from tertium.core.planner.judge import run_of
from tertium.core.planner.releases import releases_of
from tests.planner.models import (
    DEEPSEEK_V3,
    GEMMA_2_9B,
    GLM_5,
    GPT_OSS_120B,
    H100,
    H100_PCIE,
    L4,
    LLAMA_8B,
    LLAMA_70B,
    MIXTRAL,
    PHI_4,
    SMALL,
    facts,
    request,
)


def run(
    tensor: int = 1, pipeline: int = 1, version: str = "0.19.0", pool: GpuPool = H100, **more: Any
) -> parts.Run:
    wanted: dict[str, Any] = {"sequences": 1024, "engine_version": version} | more
    asked = request(**wanted)
    return run_of(pool, asked, tensor, pipeline, releases_of(version)[0])


@pytest.mark.parametrize(
    ("config", "tensor", "gibibytes"),
    [
        pytest.param(LLAMA_8B, 1, 1.89, id="llama 8B: 1.89 GiB"),
        pytest.param(LLAMA_8B, 4, 1.89, id="on four ranks the same: every rank samples"),
        pytest.param(LLAMA_70B, 2, 1.96, id="llama 70B: 1.96 GiB"),
        pytest.param(PHI_4, 1, 1.52, id="phi-4: 1.52 GiB"),
        pytest.param(GEMMA_2_9B, 1, 3.65, id="Gemma 2 with its large vocabulary: 3.65 GiB"),
        pytest.param(MIXTRAL, 2, 1.21, id="Mixtral with its experts: 1.21 GiB"),
        pytest.param(GPT_OSS_120B, 1, 2.87, id="gpt-oss, whose experts need no workspace: 2.87 GiB"),
    ],
)
def test_the_profiling_run_takes_what_logs_say(config: dict[str, Any], tensor: int, gibibytes: float) -> None:
    found = parts.activation_mebibytes(facts(config), run(tensor), samples=True)
    assert found / 1024 == pytest.approx(gibibytes, abs=0.09)


def test_a_sampler_that_sorts_takes_more() -> None:
    # Logs of 0.15 and 0.16: 4.76 to 4.84 GiB.
    found = parts.activation_mebibytes(facts(LLAMA_8B), run(version="0.16.0"), samples=True)
    assert found / 1024 == pytest.approx(4.8, abs=0.05)


def test_a_stage_that_does_not_sample_takes_the_forward_pass_only() -> None:
    # A log of llama 8B in two stages: 1.10 GiB.
    found = parts.activation_mebibytes(facts(LLAMA_8B), run(pipeline=2), samples=False)
    assert found / 1024 == pytest.approx(1.1, abs=0.05)


def test_without_chunked_prefill_the_context_counts() -> None:
    # A log of 0.6 on an RTX 3090: 1.72 GiB with 20,000 tokens.
    old = run(version="0.6.6", sequences=256, context=20000)
    found = parts.activation_mebibytes(facts(LLAMA_8B), replace(old, batched_tokens=2048), samples=True)
    assert found / 1024 == pytest.approx(1.72, abs=0.05)


def test_sparse_attention_and_encoders_add_theirs() -> None:
    plain, sparse = (
        parts.activation_mebibytes(facts(config), run(8), samples=True) for config in (DEEPSEEK_V3, GLM_5)
    )
    assert sparse - plain > 4000
    seeing = LLAMA_8B | {"vision_config": {"hidden_size": 1024}}
    with_encoder, without = (
        parts.activation_mebibytes(facts(config), run(), samples=True) for config in (seeing, LLAMA_8B)
    )
    assert with_encoder - without == 307


@pytest.mark.parametrize(
    ("pool", "tensor", "pipeline", "mebibytes"),
    [
        pytest.param(H100, 1, 1, 272, id="one GPU has no collectives"),
        pytest.param(H100, 2, 1, 2222, id="NVLink buffers are large"),
        pytest.param(H100, 1, 2, 102, id="stages alone need few"),
        pytest.param(H100_PCIE, 2, 1, 717, id="a PCIe card of the same generation has none"),
        pytest.param(L4, 4, 1, 717, id="so has an L4"),
    ],
)
def test_memory_outside_the_allocator(pool: GpuPool, tensor: int, pipeline: int, mebibytes: int) -> None:
    assert parts.non_torch_mebibytes(pool, run(tensor, pipeline)) == mebibytes


def test_fewer_sequences_capture_fewer_graphs() -> None:
    model = facts(LLAMA_8B)
    found = [parts.graph_mebibytes(model, run(sequences=count)) for count in (1, 4, 64, 256, 1024)]
    assert found == [277, 306, 525, 992, 992]
    assert parts.graph_mebibytes(model, run(largest_graph=8)) == 306
    assert parts.graph_mebibytes(model, run(enforce_eager=True)) == 0


@pytest.mark.parametrize(
    ("pool", "tensor", "utilization", "version", "short"),
    [
        pytest.param(H100, 1, 95, "0.32.0", False, id="5 % of an H100 hold a context"),
        pytest.param(H100, 2, 98, "0.32.0", True, id="2 % do not hold the buffers of NVLink"),
        pytest.param(H100, 1, 99, "0.32.0", False, id="1 % just holds a context"),
        pytest.param(
            H100, 1, 99, "0.19.0", True, id="but not the graphs that were captured there before 0.21"
        ),
        pytest.param(SMALL, 1, 92, "0.32.0", False, id="on a small device a share bounds it"),
    ],
)
def test_what_must_be_left_beside_the_budget(
    pool: GpuPool, tensor: int, utilization: int, version: str, short: bool
) -> None:
    found = run(tensor, version=version, pool=pool, utilization_hundredths=utilization)
    assert (parts.slack_shortage_mebibytes(facts(LLAMA_8B), pool, found) > 0) is short


@pytest.mark.parametrize(
    ("pool", "batched", "sequences"),
    [
        pytest.param(L4, 2048, 256, id="small GPUs run small batches"),
        pytest.param(H100, 8192, 1024, id="large ones larger"),
        pytest.param(replace(H100, product="A100-80GB"), 2048, 256, id="an A100 small ones all the same"),
        pytest.param(replace(H100, memory_mebibytes=182272), 16384, 1024, id="the largest the largest"),
    ],
)
def test_the_engine_s_own_defaults(pool: GpuPool, batched: int, sequences: int) -> None:
    found = run(pool=pool, sequences=None)
    assert (found.batched_tokens, found.sequences) == (batched, sequences)


def test_a_forward_pass_holds_a_token_of_every_sequence() -> None:
    assert run(pool=L4, sequences=4096).batched_tokens == 4096


def test_the_margin_grows_with_the_weights_and_with_doubt() -> None:
    known, unknown = facts(LLAMA_8B), facts(LLAMA_8B | {"architectures": ["Other"]})
    assert [parts.margin_mebibytes(known, H100, weights) for weights in (100, 70_000)] == [512, 700]
    assert parts.margin_mebibytes(unknown, H100, 70_000) == 3500
    assert parts.margin_mebibytes(known, SMALL, 129) == 99
