"""What vLLM's CPU build lacks to build the model classes that run on GPUs: ranks, kernels and memory.

A model is built whole, at full size, on PyTorch's meta device, as one rank of a group that does not exist.
Its constructors check what can be split and create each rank's parameters and caches; nothing of that needs a
kernel. Where a constructor picks one, the check for the hardware is answered with yes.
Runs with the engine's packages. Must not know what is asked about a model.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import torch
import vllm.model_executor.kernels.linear as linear_kernels
import vllm.model_executor.layers.fused_moe.modular_kernel as fused_experts
from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from vllm.distributed import parallel_state
from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig
from vllm.model_executor.models import registry
from vllm.platforms.cpu import CpuPlatform
from vllm.platforms.interface import PlatformEnum
from vllm.transformers_utils.config import _CONFIG_REGISTRY
from vllm.v1.attention.backends.registry import AttentionBackendEnum
from vllm.v1.worker.workspace import init_workspace_manager

# Compilers of GPU kernels that modules import at their top.
_GPU_MODULES = ("cutlass", "cutlass.cute", "vllm.model_executor.kernels.linear.cute_dsl.gemm_rs_ar")
_GROUPS = ("_WORLD", "_TP", "_PP", "_DP", "_EP", "_EPLB", "_DCP", "_PCP", "_ETP")


class Group:
    """One rank's view of a group of processes; also of the process group inside it."""

    def __init__(self, size: int, rank: int) -> None:
        self.world_size = size
        self.rank = self.rank_in_group = rank
        self.local_rank = 0
        self.ranks = list(range(size))
        self.is_first_rank = rank == 0
        self.is_last_rank = rank == size - 1
        self.device_group = self.cpu_group = MagicMock(
            size=lambda: size, rank=lambda: rank, spec=("size", "rank")
        )
        self.device_communicator = self.mq_broadcaster = None


def become(*, tensor: int, pipeline: int = 1, stage: int = 0) -> None:
    """Make this process the first tensor rank of a pipeline stage."""
    sizes = {"_WORLD": tensor * pipeline, "_TP": tensor, "_EP": tensor, "_PP": pipeline}
    for name in _GROUPS:
        setattr(parallel_state, name, Group(sizes.get(name, 1), stage if name == "_PP" else 0))


def install() -> None:
    """Replace what asks for hardware. For the rest of this process."""
    for name in _GPU_MODULES:
        sys.modules[name] = MagicMock()
    torch.cuda.Stream = torch.cuda.Event = MagicMock
    # Some towers are moved after they were built; a tensor without data cannot be.
    torch.nn.Module.to = lambda module, *_, **__: module
    init_workspace_manager(torch.device("meta"))
    registry._run_in_subprocess = lambda inspect: inspect()
    _allow_sparse_attention()
    _allow_kernels()


def _allow_sparse_attention() -> None:
    select = CpuPlatform.get_attn_backend_cls.__func__

    def backend(cls: type, *args: Any, **named: Any) -> str:
        wanted = named.get("attn_selector_config") or args[1]
        if wanted.use_sparse:
            return str(AttentionBackendEnum.FLASHMLA_SPARSE.get_path())
        return str(select(cls, *args, **named))

    CpuPlatform.get_attn_backend_cls = classmethod(backend)


def _allow_kernels() -> None:
    yes = classmethod(lambda *_, **__: (True, None))
    quantized = linear_kernels.EmulationNvFp4LinearKernel, linear_kernels.EmulationMxfp8LinearKernel
    for kernel in (*quantized, linear_kernels.MarlinNvFp4LinearKernel):
        kernel.is_supported = kernel.can_implement = yes
    linear_kernels._POSSIBLE_NVFP4_KERNELS[PlatformEnum.CPU] = [quantized[0]]
    linear_kernels._POSSIBLE_MXFP8_KERNELS[PlatformEnum.CPU] = [quantized[1]]
    fused_experts.FusedMoEExperts.is_supported_config = staticmethod(lambda *_, **__: (True, None))
    # The last line of this check refuses experts without a gate where there is no GPU.
    FusedMoEConfig.__post_init__ = _ignoring(NotImplementedError, FusedMoEConfig.__post_init__)


def _ignoring(error: type[Exception], function: Callable[..., None]) -> Callable[..., None]:
    def quiet(*args: Any) -> None:
        with contextlib.suppress(error):
            function(*args)

    return quiet


def register_plain_config(config: dict[str, Any]) -> None:
    """Let a config be read whose class only its publisher has: every field as it stands."""
    model_type = config.get("model_type")
    if not model_type or model_type in CONFIG_MAPPING or model_type in _CONFIG_REGISTRY:
        return
    usual = {"num_hidden_layers": "num_layers", "rms_norm_eps": "layer_norm_epsilon"}
    renamed = {name: own for name, own in usual.items() if own in config and name not in config}
    fields = {"model_type": model_type, "max_position_embeddings": 2048, "attribute_map": renamed}
    AutoConfig.register(model_type, type("PlainConfig", (PretrainedConfig,), fields))
