"""What `spec.engine.args` and `spec.engine.env` may not say: anything else than the spec and the plan say.

It reads arguments as the engine's own parser does: `_` for `-`, abbreviations, values apart or attached.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tertium.api.v1alpha1 import EnvVar, LLMDeploymentSpec
from tertium.core import names

PLAN: Final = "the plan"
TERTIUM: Final = "Tertium"

_DECIDED_BY: Final[Mapping[str, str]] = {
    "--model": "spec.model.source",
    "--served-model-name": "spec.model.servedName",
    "--data-parallel": "spec.scaling",
    "--data-parallel-size": "spec.scaling",
    "-dp": "spec.scaling",
    "--prefill-context-parallel-size": PLAN,
    "-pcp": PLAN,
    "--decode-context-parallel-size": PLAN,
    "-dcp": PLAN,
    "--nnodes": PLAN,
    "-n": PLAN,
    "--node-rank": PLAN,
    "-r": PLAN,
    "--kv-cache-memory-bytes": PLAN,
    "--num-gpu-blocks-override": PLAN,
    "--config": f"{TERTIUM}, which cannot see into the file",
    "--host": TERTIUM,
    "--uds": TERTIUM,
    "--grpc": TERTIUM,
    "--headless": TERTIUM,
    "--ssl-keyfile": TERTIUM,
    "--ssl-certfile": TERTIUM,
}
"""Options whose value Tertium does not compare: none may be given."""

_SHORT: Final[Mapping[str, str]] = {"-tp": "--tensor-parallel-size", "-pp": "--pipeline-parallel-size"}
_ATTACHED: Final = ("-tp", "-pp", "-pcp", "-dcp", "-dp", "-n", "-r")
"""Short options whose number may follow without a space: -tp2."""
_VARIABLES: Final[Mapping[str, str]] = {
    "CUDA_VISIBLE_DEVICES": "the kubelet, which gives the container its GPUs",
    "NVIDIA_VISIBLE_DEVICES": "the kubelet, which gives the container its GPUs",
    "VLLM_HOST_IP": TERTIUM,
    "VLLM_PORT": TERTIUM,
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN": PLAN,
    "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS": PLAN,
    "VLLM_PP_LAYER_PARTITION": PLAN,
}
_TOKENS: Final = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
_MULTIPLES: Final[Mapping[str, int]] = {
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40,
}  # fmt: skip
_NUMBER: Final = re.compile(r"(-?\d*\.?\d+)([kmgtKMGT]?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option among the arguments."""

    index: int
    name: str
    value: str | None
    """None: it has none, as a switch."""
    text: str
    """As the user wrote it."""


def options(arguments: Sequence[str]) -> Iterator[Option]:
    """Yield the options; what stands between them is their values."""
    for index, argument in enumerate(arguments):
        if not _is_option(argument):
            continue
        name, attached, value = argument.partition("=")
        short = next((short for short in _ATTACHED if name.startswith(short)), "")
        if short and name[len(short) :].isdigit():
            name, attached, value = short, "=", name[len(short) :]
        text = argument
        if not attached and index + 1 < len(arguments) and not _is_option(arguments[index + 1]):
            value, attached = arguments[index + 1], "="
            text = f"{argument} {value}"
        long = _SHORT.get(name, name)
        if long.startswith("--"):
            long = "--" + long[2:].replace("_", "-")
        yield Option(index=index, name=long, value=value if attached else None, text=text)


def argument_error(spec: LLMDeploymentSpec, planned: Sequence[str] = ()) -> str | None:
    """Return what is wrong with `spec.engine.args`, or None.

    `planned` are the plan's flags; before there is a plan, what the spec itself says is compared.

    | the argument                                       | result                     |
    | is the value of no option                          | refused                    |
    | names an option that is Tertium's alone            | refused with who decides   |
    | names one that spec or plan set, to the same value | allowed: it changes nothing |
    | the same, to another value                         | refused with both values   |
    | any other                                          | the user's business        |
    """
    arguments = spec.engine.args
    if arguments and not _is_option(arguments[0]):
        return f"spec.engine.args[0]: {arguments[0]!r} is the value of no option; put its option before it"
    decided = _decided(spec, planned)
    for option in options(arguments):
        where = f"spec.engine.args[{option.index}]: {option.text!r}"
        known = _meant(option.name, decided)
        if known is not None and not _same(option.value, decided[known][1]):
            source, value = decided[known]
            return f"{where} contradicts {source}, which says {value}; remove it{_instead(source, option)}"
        alone = _meant(option.name, _DECIDED_BY)
        if known is None and alone is not None:
            return f"{where} is decided by {_DECIDED_BY[alone]}; remove it"
    return None


def variable_error(spec: LLMDeploymentSpec) -> str | None:
    """Return what is wrong with `spec.engine.env`, or None. A value is never shown: it may be a secret."""
    for variable in spec.engine.env:
        problem = _variable_error(spec, variable)
        if problem:
            return f"spec.engine.env[{variable.name}] {problem}; remove it"
    return None


def _variable_error(spec: LLMDeploymentSpec, variable: EnvVar) -> str:
    if variable.name in _TOKENS and spec.model.credentials_secret_ref is not None:
        return "contradicts spec.model.credentialsSecretRef, which sets the token"
    if variable.name.startswith("VLLM_DP_"):
        return "is decided by spec.scaling"
    decided_by = _VARIABLES.get(variable.name)
    return f"is decided by {decided_by}" if decided_by else ""


def _decided(spec: LLMDeploymentSpec, planned: Sequence[str]) -> Mapping[str, tuple[str, str]]:
    """Return who set an option, and to what, for every option that has a value now."""
    found = {
        "--max-model-len": ("spec.capacity.contextTokens", str(spec.capacity.context_tokens)),
        "--max-num-seqs": ("spec.capacity.concurrentSequences", str(spec.capacity.concurrent_sequences)),
        "--shutdown-timeout": ("spec.rollout.drainSeconds", str(spec.rollout.drain_seconds)),
        "--port": (TERTIUM, str(names.ENGINE_PORT)),
    }
    if spec.model.revision is not None:
        found["--revision"] = ("spec.model.revision", spec.model.revision)
    for pinned, option in (("tensor", "--tensor-parallel-size"), ("pipeline", "--pipeline-parallel-size")):
        size = getattr(spec.parallelism, pinned)
        if size is not None:
            found[option] = (f"spec.parallelism.{pinned}", str(size))
    shape = ("--tensor-parallel-size=1", "--pipeline-parallel-size=1") if planned else ()
    for name, value in {
        flag.partition("=")[0]: flag.partition("=")[2] for flag in (*shape, *planned)
    }.items():
        if name not in found or not _same(value, found[name][1]):
            found[name] = (PLAN, value)
    return found


def _meant(name: str, known: Mapping[str, object]) -> str | None:
    """Return the known option that `name` is, or is an abbreviation of, as the engine's parser takes it."""
    if name in known:
        return name
    if not name.startswith("--"):
        return next((short for short in known if not short.startswith("--") and _extends(name, short)), None)
    return next((full for full in known if full.startswith(name) or _extends(name, full)), None)


def _extends(name: str, known: str) -> bool:
    """Whether an option belongs to a family that is Tertium's: `--data-parallel-rank`, `-dpn`."""
    return known in ("--data-parallel", "-dp") and name.startswith(known)


def _same(text: str | None, value: str) -> bool:
    if text is None or text == value:
        return text == value
    one, other = _number(text), _number(value)
    return one is not None and one == other


def _number(text: str) -> Decimal | None:
    """Read a number as the engine does: `8k` is 8,000 and `8K` is 8,192."""
    found = _NUMBER.fullmatch(text.strip())
    return Decimal(found[1]) * _MULTIPLES.get(found[2], 1) if found else None


def _instead(source: str, option: Option) -> str:
    return f", or set {source} to {option.value}" if source.startswith("spec.") and option.value else ""


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and _NUMBER.fullmatch(argument) is None
