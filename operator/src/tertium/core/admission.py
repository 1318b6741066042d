"""Contradictions inside one spec. The CRD refuses most; objects stored before its rules come here too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.errors import Terminal
from tertium.core.source import parse_source

_DECIDED_BY: Final = {
    "--model": "spec.model.source",
    "--revision": "spec.model.revision",
    "--served-model-name": "spec.model.servedName",
    "--max-model-len": "spec.capacity.contextTokens",
    "--max-num-seqs": "spec.capacity.concurrentSequences",
    "--tensor-parallel-size": "spec.parallelism.tensor",
    "-tp": "spec.parallelism.tensor",
    "--pipeline-parallel-size": "the plan",
    "-pp": "the plan",
    "--data-parallel-size": "spec.scaling",
    "-dp": "spec.scaling",
    "--host": "Tertium",
    "--port": "Tertium",
    "--shutdown-timeout": "Tertium",
}


def check(spec: LLMDeploymentSpec) -> None:
    """Raise `Terminal` for the first contradiction in `spec`."""
    parse_source(spec.model.source)
    scaling = spec.scaling
    if scaling.min_replicas > scaling.max_replicas:
        raise _invalid(
            f"spec.scaling.minReplicas: {scaling.min_replicas} is more than maxReplicas, "
            f"{scaling.max_replicas}; lower it or raise maxReplicas"
        )
    check_arguments(spec, ())


def check_arguments(spec: LLMDeploymentSpec, planned: Sequence[str]) -> None:
    """Raise `Terminal` when `spec.engine.args` repeats a flag that Tertium sets or `planned` holds."""
    decided = {_option(flag): "the plan" for flag in planned} | _DECIDED_BY
    for index, argument in enumerate(spec.engine.args):
        option = _option(argument)
        if option in decided:
            raise _invalid(
                f"spec.engine.args[{index}]: {argument!r} repeats {option}, which is decided by "
                f"{decided[option]}; remove it"
            )


def _option(argument: str) -> str:
    """Return the option an argument names, as the engine reads it: its parser takes `_` for `-` too."""
    option = argument.partition("=")[0]
    if option.startswith("--"):
        return "--" + option[2:].replace("_", "-")
    # A short option may carry its value: -tp2.
    return next((short for short in ("-tp", "-pp", "-dp") if option.startswith(short)), option)


def _invalid(message: str) -> Terminal:
    return Terminal(Reason.INVALID, message)
