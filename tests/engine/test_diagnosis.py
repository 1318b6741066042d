"""Tails of real vLLM logs, shortened, and what each comes down to."""

from __future__ import annotations

import pytest

from tertium.core.diagnosis import Diagnosis, Fault
from tertium.engine.diagnosis import diagnose

CORE = "(EngineCore pid=97) ERROR 11-21 22:04:41 [core.py:1510] "
API = "(APIServer pid=1) "
ECHO = (
    f"{API}RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}\n"
)
LOADED = (
    "(EngineCore pid=97) INFO 11-21 22:04:30 [gpu_model_runner.py:5150] Model loading took 14.99 GiB memory\n"
)
CACHED = "(EngineCore pid=97) INFO 11-21 22:04:35 [kv_cache_utils.py:2329] GPU KV cache size: 23,648 tokens\n"
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.25 GiB. GPU 1 has a total capacity of "
    "93.02 GiB of which 784.00 MiB is free. Including non-PyTorch memory, this process has 91.83 GiB in use."
)


def failed(error: str, before: str = "") -> str:
    trace = f"{CORE}EngineCore failed to start.\n{CORE}Traceback (most recent call last):\n"
    return f"{before}{trace}{CORE}{error}\n{ECHO}"


@pytest.mark.parametrize(
    ("log", "diagnosis"),
    [
        pytest.param(
            failed(
                "ValueError: Free memory on device cuda:0 (4.1/23.6 GiB) on startup is less than desired GPU "
                "memory utilization (0.92, 21.7 GiB). Decrease GPU memory utilization or reduce GPU "
                "memory used "
                "by other processes."
            ),
            Diagnosis(
                kind=Fault.NOT_ENOUGH_FREE,
                sentence="4.1 of the 23.6 GiB of the GPU's memory were free when the engine started, and its "
                "budget is 21.7 GiB (--gpu-memory-utilization=0.92): something else uses it",
                needed_mebibytes=22221,
                available_mebibytes=4198,
            ),
            id="1: the GPU is not free",
        ),
        pytest.param(
            failed(
                "ValueError: Free memory on device (4.1/23.6 GiB) on startup is less than desired GPU memory "
                "utilization (0.9, 21.2 GiB)."
            ),
            Diagnosis(
                kind=Fault.NOT_ENOUGH_FREE,
                sentence="4.1 of the 23.6 GiB of the GPU's memory were free when the engine started, and its "
                "budget is 21.2 GiB (--gpu-memory-utilization=0.9): something else uses it",
                needed_mebibytes=21709,
                available_mebibytes=4198,
            ),
            id="1: the GPU is not free, in the words of older versions",
        ),
        pytest.param(
            failed(
                "ValueError: Available memory on node 0 (2.5/7.8 GiB) on startup is less than desired CPU "
                "memory "
                "utilization (0.92, 7.18 GiB). On the CPU backend, ..."
            ),
            Diagnosis(
                kind=Fault.NOT_ENOUGH_FREE,
                sentence="2.5 of the 7.8 GiB of main memory were free when the engine started, and its "
                "budget is "
                "7.18 GiB (--gpu-memory-utilization=0.92): something else uses it",
                needed_mebibytes=7352,
                available_mebibytes=2560,
            ),
            id="1: main memory is not free, without a GPU",
        ),
        pytest.param(
            failed(
                "ValueError: No available memory for the cache blocks. Try increasing "
                "`gpu_memory_utilization` "
                "when initializing the engine."
            ),
            Diagnosis(
                kind=Fault.NO_CACHE_BLOCKS,
                sentence="The weights and the engine's own buffers leave no memory for the KV cache",
            ),
            id="2: no memory for one block",
        ),
        pytest.param(
            failed(
                "ValueError: To serve at least one request with the model's max seq len (131072), (16.00 "
                "GiB KV "
                "cache is needed, which is larger than the available KV cache memory (2.52 GiB). Based on "
                "the "
                "available memory, the estimated maximum model length is 20640. Try increasing ..."
            ),
            Diagnosis(
                kind=Fault.SEQUENCE_TOO_LONG,
                sentence="One sequence of 131,072 tokens needs 16.00 GiB of KV cache, and 2.52 GiB are "
                "left; it "
                "holds 20,640 tokens: lower spec.capacity.contextTokens",
                needed_mebibytes=16384,
                available_mebibytes=2580,
                longest_tokens=20640,
            ),
            id="3: one sequence does not fit",
        ),
        pytest.param(
            failed(
                "ValueError: To serve at least one request with the models's max seq len (8192), 2.63 GiB KV "
                "cache is needed, which is larger than the available KV cache memory (1.64 GiB). Try ..."
            ),
            Diagnosis(
                kind=Fault.SEQUENCE_TOO_LONG,
                sentence="One sequence of 8,192 tokens needs 2.63 GiB of KV cache, and 1.64 GiB are left",
                needed_mebibytes=2693,
                available_mebibytes=1679,
            ),
            id="3: one sequence does not fit, and no length is offered",
        ),
        pytest.param(
            failed(
                "ValueError: The model's max seq len (29000) is larger than the maximum number of tokens "
                "that can "
                "be stored in KV cache (23648). Try increasing ..."
            ),
            Diagnosis(
                kind=Fault.SEQUENCE_TOO_LONG,
                sentence="One sequence of 29,000 tokens is longer than the KV cache; it holds 23,648 "
                "tokens: lower "
                "spec.capacity.contextTokens",
                longest_tokens=23648,
            ),
            id="3: one sequence does not fit, in the words of older versions",
        ),
        pytest.param(
            failed(
                "ValueError: max_num_seqs (1024) exceeds available Mamba cache blocks (614). Each decode "
                "sequence "
                "requires one Mamba cache block, so CUDA graph capture cannot proceed."
            ),
            Diagnosis(
                kind=Fault.TOO_MANY_SEQUENCES,
                sentence="1,024 sequences at the same time need a state block each, and the memory left "
                "holds 614: "
                "lower spec.capacity.concurrentSequences",
                blocks=614,
            ),
            id="4: more sequences than state blocks",
        ),
        pytest.param(
            failed(OOM),
            Diagnosis(
                kind=Fault.OUT_OF_MEMORY,
                sentence="The engine ran out of GPU memory while it loaded the weights: it asked for 1.25 "
                "GiB more, "
                "and 784.00 MiB were free",
                needed_mebibytes=1280,
                available_mebibytes=784,
            ),
            id="5: out of memory while the weights are loaded",
        ),
        pytest.param(
            failed(OOM, LOADED),
            Diagnosis(
                kind=Fault.OUT_OF_MEMORY,
                sentence="The engine ran out of GPU memory in its profiling run: it asked for 1.25 GiB "
                "more, and "
                "784.00 MiB were free",
                needed_mebibytes=1280,
                available_mebibytes=784,
            ),
            id="5: out of memory in the profiling run",
        ),
        pytest.param(
            failed(
                "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy "
                "requests. Please "
                "try lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.",
                LOADED + CACHED,
            ),
            Diagnosis(
                kind=Fault.OUT_OF_MEMORY,
                sentence="The engine ran out of GPU memory while it captured CUDA graphs and warmed up",
            ),
            id="5: out of memory in the warm-up",
        ),
        pytest.param(
            f"(EngineCore pid=9) (Worker_TP1 pid=130) ERROR 11-21 22:04:41 [multiproc_executor.py:772] "
            f"{OOM}\n"
            f"{CORE}Exception: WorkerProc initialization failed due to an exception in a background "
            f"process.\n{ECHO}",
            Diagnosis(
                kind=Fault.OUT_OF_MEMORY,
                sentence="The engine ran out of GPU memory while it loaded the weights: it asked for 1.25 "
                "GiB more, "
                "and 784.00 MiB were free",
                needed_mebibytes=1280,
                available_mebibytes=784,
            ),
            id="5: out of memory in one worker of several",
        ),
        pytest.param(
            f"{API}pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
            f"{API}  Value error, Total number of attention heads (40) must be divisible by tensor "
            f"parallel size "
            "(3). [type=value_error, input_value=ArgsKwargs((), {...}})]\n",
            Diagnosis(
                kind=Fault.INVALID,
                sentence="ValidationError: Total number of attention heads (40) must be divisible by "
                "tensor parallel "
                "size (3).",
            ),
            id="6: heads that cannot be split",
        ),
        pytest.param(
            failed(
                "ValueError: Weight input_size_per_partition = 192 is not divisible by weight "
                "quantization block_k "
                "= 128."
            ),
            Diagnosis(
                kind=Fault.INVALID,
                sentence="ValueError: Weight input_size_per_partition = 192 is not divisible by weight "
                "quantization "
                "block_k = 128.",
            ),
            id="6: quantized blocks that cannot be split",
        ),
        pytest.param(
            "usage: vllm serve [options]\nvllm serve: error: unrecognized arguments: --enforce-eeger\n",
            Diagnosis(kind=Fault.INVALID, sentence="unrecognized arguments: --enforce-eeger"),
            id="6: an argument that does not exist",
        ),
        pytest.param(
            "usage: vllm serve [options]\nvllm serve: error: argument --dtype: invalid choice: 'int3'\n",
            Diagnosis(kind=Fault.INVALID, sentence="argument --dtype: invalid choice: 'int3'"),
            id="6: an argument with a value that does not exist",
        ),
        pytest.param(
            failed("OSError: [Errno 28] No space left on device"),
            Diagnosis(kind=Fault.OTHER, sentence="OSError: [Errno 28] No space left on device"),
            id="anything else in the engine's own words",
        ),
        pytest.param(ECHO, None, id="an echo alone says nothing"),
        pytest.param("", None, id="an empty log"),
    ],
)
def test_diagnoses(log: str, diagnosis: Diagnosis | None) -> None:
    assert diagnose(log) == diagnosis
