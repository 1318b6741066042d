"""Tails of real vLLM logs, shortened, and the sentence each comes down to."""

from __future__ import annotations

import pytest

from tertium.engine.log import SENTENCE_LIMIT, bare_lines, failure_sentence

CORE = "(EngineCore_DP0 pid=97) ERROR 11-21 22:04:41 [core.py:1100] "
API = "(APIServer pid=1) "
ECHO = (
    f"{API}RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}\n"
)

TOO_LONG = (
    "To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, "
    "which is larger than the available KV cache memory (2.52 GiB). Based on the available memory, the "
    "estimated maximum model length is 20640. Try increasing `gpu_memory_utilization` or decreasing "
    "`max_model_len` when initializing the engine."
)
NO_BLOCKS = (
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing "
    "the engine."
)
MAMBA = "max_num_seqs (1024) exceeds available Mamba cache blocks (614). Lower max_num_seqs."
FREE = (
    "Free memory on device (4.1/23.6 GiB) on startup is less than desired GPU memory utilization "
    "(0.92, 21.7 GiB)."
)
OOM = "CUDA out of memory. Tried to allocate 784.00 MiB. GPU 0 has a total capacity of 31.36 GiB"
HEADS = "Total number of attention heads (40) must be divisible by tensor parallel size (3)."


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        pytest.param(
            f"{CORE}EngineCore failed to start.\n{CORE}Traceback (most recent call last):\n"
            f'{CORE}  File "x.py", line 3\n{CORE}ValueError: {TOO_LONG}\n{API}Traceback\n{ECHO}',
            f"ValueError: {TOO_LONG}",
            id="the context is too long for the memory",
        ),
        pytest.param(
            f"{CORE}ValueError: {NO_BLOCKS}\n{ECHO}", f"ValueError: {NO_BLOCKS}", id="no memory for one block"
        ),
        pytest.param(f"{CORE}ValueError: {MAMBA}\n{ECHO}", f"ValueError: {MAMBA}", id="too few Mamba blocks"),
        pytest.param(f"{CORE}ValueError: {FREE}\n{ECHO}", f"ValueError: {FREE}", id="the GPU is not free"),
        pytest.param(
            f"(EngineCore pid=9) (Worker_TP1 pid=130) ERROR 11-21 22:04:41 [multiproc_executor.py:772] "
            f"torch.OutOfMemoryError: {OOM}\n{CORE}Exception: WorkerProc initialization failed due to an "
            f"exception in a background process. See stack trace for root cause.\n{ECHO}",
            f"OutOfMemoryError: {OOM}",
            id="a worker of a tensor parallel engine runs out of memory",
        ),
        pytest.param(
            f"{API}pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
            f"{API}  Value error, {HEADS} [type=value_error, input_value=ArgsKwargs((), {{...}})]\n"
            f"{API}    For further information visit https://errors.pydantic.dev\n",
            f"ValidationError: {HEADS}",
            id="a config that is not valid",
        ),
        pytest.param(
            "usage: vllm serve [options]\nvllm serve: error: unrecognized arguments: --enforce-eeger\n",
            "unrecognized arguments: --enforce-eeger",
            id="an argument that does not exist",
        ),
        pytest.param(
            "\x1b[31mOSError\x1b[0m: first\nDuring handling of the above exception, another one occurred:\n"
            "ValueError: /models/x is not a folder with a config.json\n",
            "ValueError: /models/x is not a folder with a config.json",
            id="the outermost of a chain is written for people",
        ),
        pytest.param(
            f"{CORE}AssertionError: 151936 is not divisible by 5\n",
            "AssertionError: 151936 is not divisible by 5",
            id="a vocabulary that cannot be split",
        ),
        pytest.param(ECHO, "", id="an echo alone says nothing"),
        pytest.param("INFO 11-21 22:04:41 [api_server.py:1] starting\n", "", id="no error at all"),
        pytest.param("", "", id="an empty log"),
    ],
)
def test_sentences(log: str, sentence: str) -> None:
    assert failure_sentence(bare_lines(log)) == sentence


def test_an_endless_sentence_is_cut() -> None:
    assert len(failure_sentence(["ValueError: " + "x" * 5000])) == SENTENCE_LIMIT
