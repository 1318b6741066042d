"""What `tertium plan` plans: a model's facts, GPUs, and what one replica must hold, from flags and files."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from tertium.api.v1alpha1 import KIND, Capacity, LLMDeploymentSpec
from tertium.cli.inspect import hub_of_environment
from tertium.cli.plan_answer import bad
from tertium.core.admission import check
from tertium.core.planner import (
    GpuPool,
    ModelFacts,
    Request,
    cuda_mebibytes,
    known_memory,
    known_products,
    request_of,
)
from tertium.core.source import HubSource, parse_source
from tertium.loader.bucket import inspect_bucket
from tertium.loader.facts import INDEX, read_config, read_object
from tertium.loader.folder import inspect_folder
from tertium.loader.hub import inspect_hub

_GPU: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9 ._-]*?)(?::([1-9][0-9]{0,8}))?")
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_LARGEST_JSON_BYTES: Final = 64 << 20
"""A config has kilobytes, the index of the largest models a few megabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Everything the search asks for. `ordered`: the pools stand in order of preference."""

    name: str
    facts: ModelFacts
    pools: tuple[GpuPool, ...]
    request: Request
    ordered: bool


def read_subject(args: argparse.Namespace) -> Subject:
    """Read what the command line names. Raises Terminal, naming the flag, file or field that is wrong."""
    spec = None if args.file is None else read_spec(args.file)
    if args.model is None and spec is None:
        raise bad("what to plan for is missing; give MODEL, or -f with an LLMDeployment")
    nodes = _nodes(args)
    request = replace(_request(args, spec), nodes=nodes)
    pools = tuple(
        replace(pool, more_nodes=(args.gpus_per_node,) * (nodes - 1)) for pool in _pools(args, spec)
    )
    model = args.model if args.model is not None or spec is None else spec.model.source
    revision = spec.model.revision if spec is not None else None
    return Subject(
        name=str(model),
        facts=read_facts(str(model), revision, args.weight_bytes),
        pools=pools,
        request=request,
        ordered=spec is not None and bool(spec.accelerators),
    )


def read_spec(file: Path) -> LLMDeploymentSpec:
    """Read the LLMDeployment of a manifest, beside whatever else it holds, as the operator would accept it.

    Raises Terminal, naming the file and the field.
    """
    try:
        documents = [found for found in yaml.safe_load_all(file.read_text(encoding="utf-8")) if found]
    except OSError as error:
        raise bad(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise bad(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    kinds = [found.get("kind") if isinstance(found, Mapping) else None for found in documents]
    if kinds.count(KIND) != 1:
        held = ", ".join(str(kind) for kind in kinds) or "nothing"
        raise bad(f"{file} holds {held}; expected one {KIND}")
    try:
        spec = LLMDeploymentSpec.model_validate(documents[kinds.index(KIND)].get("spec"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("spec", *first["loc"]))
        raise bad(f"{file}: {where}: {first['msg']}") from error
    check(spec)
    return spec


def _request(args: argparse.Namespace, spec: LLMDeploymentSpec | None) -> Request:
    concurrency = args.concurrency or Capacity().concurrent_sequences
    if spec is None:
        base = Request(context_tokens=Capacity().context_tokens, max_num_seqs=concurrency)
    else:
        base = request_of(spec)
        concurrency = args.concurrency or spec.capacity.concurrent_sequences
    if args.max_num_seqs is not None and args.concurrency is not None and args.max_num_seqs < concurrency:
        raise bad(f"--max-num-seqs: {args.max_num_seqs} is less than --concurrency, {concurrency}")
    given = {
        "context_tokens": args.context,
        "max_num_seqs": args.max_num_seqs or args.concurrency,
        "keep_seqs": True if args.max_num_seqs else None,
        "max_num_batched_tokens": args.max_num_batched_tokens,
        "utilization_hundredths": args.gpu_memory_utilization,
        "kv_cache": args.kv_cache,
        "enforce_eager": args.enforce_eager or None,
        "tensor": args.tensor_parallel,
        "pipeline": args.pipeline_parallel,
        "engine_version": args.vllm_version,
    }
    return replace(base, **{field: value for field, value in given.items() if value is not None})


def _nodes(args: argparse.Namespace) -> int:
    """As many as were asked for, or as the pinned sizes need."""
    if args.nodes is not None:
        return int(args.nodes)
    wanted = (args.tensor_parallel or 1) * (args.pipeline_parallel or 1)
    return max(1, -(-wanted // args.gpus_per_node)) if args.pipeline_parallel else 1


def _pools(args: argparse.Namespace, spec: LLMDeploymentSpec | None) -> tuple[GpuPool, ...]:
    wanted = [accelerator.product for accelerator in spec.accelerators] if spec is not None else []
    given = [_gpu(text, args.gpus_per_node) for text in args.gpu]
    if not given:
        names = wanted or known_products()
        return tuple(pool_of(name, None, args.gpus_per_node) for name in names)
    if not wanted:
        return tuple(given)
    there = {pool.product: pool for pool in given}
    chosen = tuple(there[name] for name in dict.fromkeys(wanted) if name in there)
    if not chosen:
        raise bad(
            f"--gpu: spec.accelerators wants {' or '.join(wanted)}, and there is {', '.join(there)}; "
            "name one of those it wants"
        )
    return chosen


def _gpu(text: str, gpus_per_node: int) -> GpuPool:
    match = _GPU.fullmatch(text)
    if match is None:
        raise bad(f"--gpu: {text!r} is not NAME or NAME:MIB, as in NVIDIA-L4 or My-GPU:23034")
    memory = cuda_mebibytes(match[1], int(match[2])) if match[2] else None
    return pool_of(match[1], memory, gpus_per_node)


def pool_of(product: str, memory_mebibytes: int | None, gpus_per_node: int) -> GpuPool:
    """A pool of GPUs; without memory, of a product that is known. Raises Terminal when it is not."""
    memory = memory_mebibytes or known_memory(product)
    if memory is None:
        known = ", ".join(known_products())
        raise bad(f"the memory of {product} is not known; tell it as {product}:MIB, or use one of {known}")
    return GpuPool(product=product, memory_mebibytes=memory, gpus_per_node=gpus_per_node)


def read_facts(model: str, revision: str | None, weight_bytes: int | None) -> ModelFacts:
    """Read a model's facts from where `model` says. Raises Terminal or Retryable, naming what is wrong."""
    folder = Path(model)
    if folder.is_dir():
        return _folder_facts(folder, weight_bytes)
    if model.startswith("s3://"):
        return ModelFacts.parse({**inspect_bucket(model), **_size(weight_bytes)})
    if "://" not in model and _HUB_ID.fullmatch(model):
        model = f"hf://{model}"
    if "://" not in model:
        raise bad(f"{model} is no folder here, and no model of a hub as ORG/NAME")
    source = parse_source(model)
    if not isinstance(source, HubSource):
        raise bad(f"{source} is inside a cluster; give the model's folder as MODEL")
    document = inspect_hub(hub_of_environment(), source.repository, revision)
    return ModelFacts.parse({**document, **_size(weight_bytes)})


def _folder_facts(folder: Path, weight_bytes: int | None) -> ModelFacts:
    resolved = folder.resolve()
    if weight_bytes is None and any(resolved.glob("*.safetensors")):
        return ModelFacts.parse(inspect_folder(resolved.parent, resolved.name, str(folder)))
    config = read_config(read_text(resolved / "config.json", str(folder)), str(folder))
    if weight_bytes is None and (resolved / INDEX).is_file():
        weight_bytes = _total_size(read_text(resolved / INDEX, str(folder)), folder)
    return ModelFacts.of(config, weight_bytes=weight_bytes)


def _size(weight_bytes: int | None) -> dict[str, Any]:
    """What replaces an inspection's tensors when the size is told."""
    return {} if weight_bytes is None else {"weightBytes": weight_bytes, "tensors": []}


def _total_size(index: str, folder: Path) -> int:
    metadata = read_object(index, f"{folder}: {INDEX}").get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    if isinstance(size, int | float) and size >= 1:
        return int(size)
    raise bad(f"{folder}: {INDEX} tells no total_size, and there are no weights; give --weight-bytes")


def read_text(file: Path, where: str) -> str:
    """Read a small JSON file of a model. Raises Terminal when it is absent, unreadable or absurdly large."""
    try:
        size = file.stat().st_size
        if size > _LARGEST_JSON_BYTES:
            raise bad(f"{where}: {file.name} has {size:,} bytes, which is no {file.name}")
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        raise bad(f"{where}: there is no {file.name}") from error
    except OSError as error:
        raise bad(f"{where}: cannot read {file.name}: {error.strerror}") from error
