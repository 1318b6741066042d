"""From the log of a vLLM that could not start to one diagnosis. Pure: text in, value out.

The patterns are vLLM's own texts from 0.6 to 0.32: `v1/worker/utils.py` and `cpu_worker.py` (memory that is
not free), `v1/core/kv_cache_utils.py` (no room for blocks, for one sequence), `config/compilation.py` (state
blocks), PyTorch's allocator, and the checks of `config/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from tertium.core.diagnosis import Diagnosis, Fault
from tertium.engine.log import bare_lines, failure_sentence

_NUMBER: Final = r"(-?\d+(?:\.\d+)?)"
_NOT_FREE: Final = re.compile(
    rf"(?:Free|Available) memory on (?P<where>device|node).*?\({_NUMBER}/{_NUMBER} GiB\) on startup "
    rf"is less than .*?\({_NUMBER}, {_NUMBER} GiB\)"
)
_NO_BLOCKS: Final = re.compile(r"No available memory for the cache blocks")
_TOO_LONG: Final = re.compile(
    rf"max seq len \((\d+)\), \(?{_NUMBER} GiB KV cache is needed, which is larger than the available KV "
    rf"cache memory \({_NUMBER} GiB\)(?:.*?estimated maximum model length is (\d+))?"
)
_TOO_LONG_IN_TOKENS: Final = re.compile(
    r"max seq len \((\d+)\) is larger than the maximum number of tokens that can be stored in KV cache "
    r"\((\d+)\)"
)
_STATE_BLOCKS: Final = re.compile(r"max_num_seqs \((\d+)\) exceeds available Mamba cache blocks \((\d+)\)")
_OUT_OF_MEMORY: Final = re.compile(r"out of memory|OutOfMemory|not enough GPU memory", re.IGNORECASE)
_ALLOCATION: Final = re.compile(rf"Tried to allocate {_NUMBER} (KiB|MiB|GiB)")
_FREE: Final = re.compile(rf"of which {_NUMBER} (KiB|MiB|GiB) is free")
_INVALID: Final = re.compile(
    r"divisible|validation error|ValidationError|unrecognized arguments|invalid choice|expected one argument|"
    r"greater than the derived max_model_len|is not aligned with the quantized weight shape|not supported"
)

# What the engine has got done, last step first, and what it does next.
_STEPS: Final = (
    ("Graph capturing finished", "after its CUDA graphs were captured"),
    ("GPU KV cache size", "while it captured CUDA graphs and warmed up"),
    ("Model loading took", "in its profiling run"),
    ("", "while it loaded the weights"),
)
_MEBIBYTES: Final = {"KiB": 1 / 1024, "MiB": 1.0, "GiB": 1024.0}


def diagnose(log: str) -> Diagnosis | None:
    """Return why the start failed, or None when the log gives no reason."""
    lines = bare_lines(log)
    words = failure_sentence(lines)
    if not words:
        return None
    found = (rule(words, lines) for rule in _RULES)
    known = next((diagnosis for diagnosis in found if diagnosis is not None), None)
    kind = Fault.INVALID if _INVALID.search(words) else Fault.OTHER
    return known or Diagnosis(kind=kind, sentence=words)


def _not_free(words: str, lines: Sequence[str]) -> Diagnosis | None:
    seen = _NOT_FREE.search(words)
    if seen is None:
        return None
    where, free, total, share, budget = seen.groups()
    what = "the GPU's memory" if where == "device" else "main memory"
    return Diagnosis(
        kind=Fault.NOT_ENOUGH_FREE,
        sentence=f"{free} of the {total} GiB of {what} were free when the engine started, and its budget is "
        f"{budget} GiB (--gpu-memory-utilization={share}): something else uses it",
        needed_mebibytes=_mebibytes(budget, "GiB"),
        available_mebibytes=_mebibytes(free, "GiB"),
    )


def _no_blocks(words: str, lines: Sequence[str]) -> Diagnosis | None:
    if _NO_BLOCKS.search(words) is None:
        return None
    sentence = "The weights and the engine's own buffers leave no memory for the KV cache"
    return Diagnosis(kind=Fault.NO_CACHE_BLOCKS, sentence=sentence)


def _too_long(words: str, lines: Sequence[str]) -> Diagnosis | None:
    if seen := _TOO_LONG.search(words):
        length, needed, available, longest = seen.groups()
        sentence = f"One sequence of {int(length):,} tokens needs {needed} GiB of KV cache"
        sentence += f", and {available} GiB are left"
        return Diagnosis(
            kind=Fault.SEQUENCE_TOO_LONG,
            sentence=sentence + _at_most(longest),
            needed_mebibytes=_mebibytes(needed, "GiB"),
            available_mebibytes=_mebibytes(available, "GiB"),
            longest_tokens=int(longest) if longest else None,
        )
    if seen := _TOO_LONG_IN_TOKENS.search(words):
        length, longest = seen.groups()
        sentence = f"One sequence of {int(length):,} tokens is longer than the KV cache{_at_most(longest)}"
        return Diagnosis(kind=Fault.SEQUENCE_TOO_LONG, sentence=sentence, longest_tokens=int(longest))
    return None


def _at_most(tokens: str | None) -> str:
    return f"; it holds {int(tokens):,} tokens: lower spec.capacity.contextTokens" if tokens else ""


def _state_blocks(words: str, lines: Sequence[str]) -> Diagnosis | None:
    seen = _STATE_BLOCKS.search(words)
    if seen is None:
        return None
    wanted, blocks = map(int, seen.groups())
    return Diagnosis(
        kind=Fault.TOO_MANY_SEQUENCES,
        sentence=f"{wanted:,} sequences at the same time need a state block each, and the memory left holds "
        f"{blocks:,}: lower spec.capacity.concurrentSequences",
        blocks=blocks,
    )


def _out_of_memory(words: str, lines: Sequence[str]) -> Diagnosis | None:
    if _OUT_OF_MEMORY.search(words) is None:
        return None
    step = next(doing for done, doing in _STEPS if any(done in line for line in lines))
    asked, free = _ALLOCATION.search(words), _FREE.search(words)
    sentence = f"The engine ran out of GPU memory {step}"
    if asked:
        sentence += f": it asked for {asked[1]} {asked[2]} more"
        sentence += f", and {free[1]} {free[2]} were free" if free else ""
    return Diagnosis(
        kind=Fault.OUT_OF_MEMORY,
        sentence=sentence,
        needed_mebibytes=_mebibytes(asked[1], asked[2]) if asked else None,
        available_mebibytes=_mebibytes(free[1], free[2]) if free else None,
    )


_RULES: Final[tuple[Callable[[str, Sequence[str]], Diagnosis | None], ...]] = (
    _not_free,
    _no_blocks,
    _too_long,
    _state_blocks,
    _out_of_memory,
)


def _mebibytes(number: str, unit: str) -> int:
    return round(float(number) * _MEBIBYTES[unit])
