"""What vLLM takes besides weights and KV cache, as data. For vLLM 0.32 unless a line says otherwise.

Measured figures come from start-up logs of vLLM 0.17 to 0.19 on A100, H100 and L40S; where a figure is
reasoned instead of measured, its comment says so. Sizes in MiB.
"""

from __future__ import annotations

from typing import Final

UTILIZATION_HUNDREDTHS: Final = 92
"""`--gpu-memory-utilization`: vLLM's default since 0.20 (0.90 before); the rest holds CUDA contexts."""

# The label is nvidia-smi's total; CUDA reports less to the engine (450 to 770 MiB on T4, L4, 3090, L40S,
# A100 and H100). The share bounds it on small devices, where it was not measured.
DRIVER_RESERVE_MEBIBYTES: Final = 512
DRIVER_RESERVE_HUNDREDTHS: Final = 3

# Memory outside PyTorch's allocator during the first forward pass.
NON_TORCH_ALONE: Final = 307
# Measured 2.06 to 2.21 GiB per GPU with NVLink on Hopper; 0.2 to 0.7 GiB over PCIe and on Ampere.
NON_TORCH_FAST_LINK: Final = 2253
NON_TORCH_SLOW_LINK: Final = 717
FAST_LINK_PRODUCTS: Final = ("H100", "H200", "H20", "H800", "GH200", "B100", "B200", "B300", "GB200", "GB300")
SLOW_LINK_MARKS: Final = ("PCIE",)

SAMPLER_COPIES: Final = 4
"""The profiling run samples every sequence over the whole vocabulary in FP32; the peak is 4 such tensors."""
ACTIVATION_DENSE: Final = 102
ACTIVATION_EXPERTS: Final = 614
"""Workspaces of fused experts and of latent attention: 0.5 to 0.7 GiB."""

# Defaults of vLLM's scheduler by GPU memory; larger batches pay on large GPUs only.
BATCHED_TOKENS: Final = 2048
BATCHED_TOKENS_LARGE_GPU: Final = 8192
LARGE_GPU_MEBIBYTES: Final = 70 * 1024

# CUDA graphs: 0.5 to 1.9 GiB with every capture size, growing with depth. All sizes share one pool, so fewer
# of them save less than their share; that they save three quarters at most is reasoned.
GRAPHS_BASE: Final = 512
GRAPHS_PER_LAYER: Final = 15
GRAPHS_EXPERTS: Final = 512
GRAPHS_LEAST: Final = 614
GRAPHS_MOST: Final = 2048
GRAPH_SIZES_MOST: Final = 51
GRAPH_BATCH_MOST: Final = 512

VOCABULARY_PADDING: Final = 64
"""vLLM pads the vocabulary to a multiple of this before it splits it."""
KV_BLOCK_TOKENS: Final = 16
KV_ELEMENT_BYTES: Final = 2

SPLIT_WEIGHTS_HUNDREDTHS: Final = 102
"""Norms, small projections and padding are replicated on every rank: 2 % covers dense models."""

# Residual error of this arithmetic against logs: within 0.5 GiB. It grows with the model; on a small device
# it is bounded by a share.
MARGIN_MEBIBYTES: Final = 512
MARGIN_DEVICE_HUNDREDTHS: Final = 5
MARGIN_WEIGHTS_HUNDREDTHS: Final = 1
