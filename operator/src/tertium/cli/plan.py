"""`tertium plan`: the minimum world size of a model, without a cluster.

Exit codes: 0 a plan was found, 1 refused, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.cli.inspect import hub_of_environment
from tertium.core.errors import Terminal
from tertium.core.planner import GpuPool, ModelFacts, Refused, Sizing, size
from tertium.core.source import HubSource, parse_source
from tertium.loader.folder import inspect_folder
from tertium.loader.hub import inspect_hub

_GPU: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*):([1-9][0-9]{0,8})")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL_DIR", help="folder of a model")
    parser.add_argument(
        "-f",
        "--file",
        type=Path,
        metavar="FILE",
        help="an LLMDeployment; its model is read unless MODEL_DIR is given",
    )
    parser.add_argument(
        "--gpu",
        action="append",
        required=True,
        metavar="PRODUCT:MIB",
        help="a GPU the cluster has and its memory in MiB, as in NVIDIA-L4:23034; may be repeated",
    )
    parser.add_argument("--gpus-per-node", type=int, default=8, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="default: %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    """Plan and print. Raises Terminal for bad input."""
    if args.gpus_per_node < 1:
        raise _bad(f"--gpus-per-node: {args.gpus_per_node} is less than 1")
    if args.model is None and args.file is None:
        raise _bad("what to plan for is missing; give MODEL_DIR, or -f with an LLMDeployment")
    pools = [_pool(text, args.gpus_per_node) for text in args.gpu]
    spec = _spec(args.file)
    outcome = size(ModelFacts.parse(_facts(args.model, spec)), pools, spec)
    sys.stdout.write(_as_json(outcome) if args.output == "json" else _as_table(outcome))
    return 1 if isinstance(outcome, Refused) else 0


def _pool(text: str, gpus_per_node: int) -> GpuPool:
    match = _GPU.fullmatch(text)
    if match is None:
        raise _bad(f"--gpu: {text!r} is not PRODUCT:MIB, as in NVIDIA-L4:23034")
    return GpuPool(product=match[1], memory_mebibytes=int(match[2]), gpus_per_node=gpus_per_node)


def _spec(file: Path | None) -> LLMDeploymentSpec:
    if file is None:
        return LLMDeploymentSpec.model_validate({"model": {"source": "pvc://folder/model"}})
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        return LLMDeploymentSpec.model_validate(document["spec"])
    except OSError as error:
        raise _bad(f"{file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise _bad(f"{file} is not YAML: {error}") from error
    except (KeyError, TypeError) as error:
        raise _bad(f"{file} holds no LLMDeployment: there is no spec") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise _bad(f"{file}: {where}: {first['msg']}") from error


def _facts(folder: Path | None, spec: LLMDeploymentSpec) -> Mapping[str, Any]:
    if folder is not None:
        return inspect_folder(folder.parent, folder.name, str(folder))
    source = parse_source(spec.model.source)
    if isinstance(source, HubSource):
        return inspect_hub(hub_of_environment(), source.repository, spec.model.revision)
    raise _bad(f"{source} is inside a cluster; give the model's folder as MODEL_DIR")


def _as_json(outcome: Sizing | Refused) -> str:
    if isinstance(outcome, Refused):
        return json.dumps({"refused": {"reason": outcome.reason, "message": outcome.message}}) + "\n"
    return json.dumps({"plan": outcome.status().model_dump(by_alias=True)}) + "\n"


def _as_table(outcome: Sizing | Refused) -> str:
    if isinstance(outcome, Refused):
        return f"{outcome.reason}: {outcome.message}\n"
    memory = outcome.memory
    rows = [
        ("accelerator", outcome.accelerator),
        ("GPUs per replica", str(outcome.gpus_per_replica)),
        ("tensor parallel size", str(outcome.tensor_parallel_size)),
        ("memory per GPU", f"{memory.total:,} MiB, {memory.budget:,} usable"),
        ("  weights", f"{memory.weights:,} MiB"),
        ("  overhead", f"{memory.overhead:,} MiB"),
        ("  KV cache", f"{memory.kv_cache:,} MiB"),
        ("  headroom", f"{memory.headroom:,} MiB"),
        ("flags", " ".join(outcome.flags)),
        ("why", outcome.why),
    ]
    return "".join(f"{name:<22}{value}\n" for name, value in rows)


def _bad(message: str) -> Terminal:
    return Terminal(Reason.INVALID, message)
