"""The partings between planner and vLLM that are understood, by model and topic, with the reason.

A line that no longer holds fails the tests: this is also the list of what the planner is known not to count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_NOT_THERE: Final = "vLLM 0.32 has no such architecture; the planner says Unverified instead of refusing it"
_CUT_GROUPS: Final = (
    "the CPU's kernels take a group of weights that is cut; those of GPUs do not, and the planner plans for "
    "GPUs"
)
_TOWER: Final = (
    "parts of the vision tower or of projections are on every rank, which the config does not tell; with "
    "headers of the checkpoint they are counted by tensor"
)
_APART: Final = "the quantization stands in a file beside the config, which vLLM was not given"
_NARROW: Final = (
    "experts whose width per rank is no multiple of what a kernel wants are padded: seen in the CPU build, "
    "not verified on GPUs"
)
_SCALES: Final = (
    "four-bit experts and their scales: an inventory from the config alone; weightBytes corrects it"
)
_SHARED: Final = "layers that share an indexer keep no keys of their own; the planner counts every layer"
_WINDOW: Final = "the window in the config is taken by vLLM and not by the planner, whose figure is a bound"
_NOT_SAVED: Final = "latent attention that is expanded: vLLM keeps some projections once"

_BY_REASON: Final[Mapping[str, tuple[str, ...]]] = {
    _NOT_THERE: (
        "MiniMaxAI/MiniMax-M3: model",
        "stepfun-ai/Step-3.7-Flash: model",
        "stepfun-ai/Step-3.7-Flash-FP8: model",
    ),
    _CUT_GROUPS: (
        "Qwen/Qwen2.5-14B-Instruct-GPTQ-Int4: legal",
        "Qwen/Qwen2.5-72B-Instruct-AWQ: legal",
        "nvidia/Gemma-4-26B-A4B-NVFP4: legal",
    ),
    _TOWER: (
        "Qwen/Qwen2-VL-2B-Instruct: weights",
        "Qwen/Qwen2.5-VL-7B-Instruct: weights",
        "google/gemma-3-27b-it: weights",
        "google/gemma-4-26B-A4B: weights",
        "microsoft/Phi-3-vision-128k-instruct: weights",
        "microsoft/Phi-4-mini-instruct: weights",
        "moonshotai/Kimi-K3: weights",
        "nvidia/Gemma-4-31B-IT-NVFP4: weights",
    ),
    _APART: ("Qwen/Qwen3-32B-FP8-Static-PerTensor: weights",),
    _NARROW: (
        "deepseek-ai/DeepSeek-V2-Lite-Chat: weights",
        "moonshotai/Kimi-Linear-48B-A3B-Instruct: weights",
        "moonshotai/Moonlight-16B-A3B-Instruct: weights",
    ),
    _SCALES: (
        "deepseek-ai/DeepSeek-V4-Flash: weights",
        "nvidia/DeepSeek-V4-Flash-NVFP4: weights",
        "nvidia/DeepSeek-V4-Pro-NVFP4: weights",
        "nvidia/Gemma-4-26B-A4B-NVFP4: weights",
        "nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4: weights",
        "zai-org/GLM-5-FP8: weights",
        "zai-org/GLM-5.1-FP8: weights",
        "zai-org/GLM-5.2-FP8: weights",
        "zai-org/GLM-5.3-FP8: weights",
    ),
    _SHARED: (
        "nvidia/GLM-5.2-NVFP4: caches",
        "nvidia/GLM-5.3-NVFP4: caches",
        "zai-org/GLM-5.2: caches",
        "zai-org/GLM-5.2-FP8: caches",
        "zai-org/GLM-5.3: caches",
        "zai-org/GLM-5.3-FP8: caches",
    ),
    _WINDOW: ("mistralai/Mistral-Nemo-Instruct-2407: caches",),
    _NOT_SAVED: ("openbmb/MiniCPM3-4B: weights",),
}

EXPLAINED: Final[Mapping[str, str]] = {key: reason for reason, keys in _BY_REASON.items() for key in keys}
"""The reason by `model: topic`."""
