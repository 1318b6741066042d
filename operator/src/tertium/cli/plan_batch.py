"""`tertium plan --batch`: one row in, one verdict out; a bad row gets a verdict that says what is wrong.

A row with sizes is judged as it stands, whatever a node holds, and against every release of the engine when
it names none; a row without sizes is searched, for the release that Tertium runs when it names none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tertium.api.conditions import Reason
from tertium.cli.plan_answer import Answer, bad, verdict_answer
from tertium.cli.plan_subject import pool_of, read_text
from tertium.core.errors import TertiumError
from tertium.core.planner import (
    DEFAULT_ENGINE_VERSION,
    GpuPool,
    KvCache,
    ModelFacts,
    Refused,
    Request,
    Verdict,
    judge,
    search,
)
from tertium.loader.facts import read_config, read_object

BAD_INPUT: Final = 2
ANY_RELEASE: Final = ""
"""The planner's word for an engine of unknown version."""

_KV_CACHES: Final[Mapping[str, KvCache]] = {
    "auto": "auto", "bfloat16": "bfloat16", "float16": "bfloat16", "fp8": "fp8"
}  # fmt: skip
_NOTHING_KNOWN: Final[Answer] = {
    "valid": False,
    "fits": False,
    "verdict": "BadInput",
    "reason": "",
    **dict.fromkeys(("tensorParallelSize", "pipelineParallelSize", "gpus", "memory", "availableKvMiB")),
    **dict.fromkeys(("kvTokens", "maxConcurrency", "maxNumSeqs")),
    "flags": [],
}


def _kv_cache(dtype: str) -> str:
    found = "fp8" if dtype.startswith("fp8") else dtype
    if found in _KV_CACHES:
        return found
    raise ValueError(f"{dtype!r} is not known; expected auto, bfloat16, float16 or fp8")


Count = Annotated[int, Field(ge=1, le=1 << 62)]


class Row(BaseModel):
    """One line of a batch. Keys that are not named here are left alone; null is as good as absent."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True, strict=False)

    id: str | int
    config: str | dict[str, Any]
    weight_bytes: Count | None = None
    gpu: str | None = None
    gpu_memory_mib: Count | None = Field(default=None, alias="gpuMemoryMiB")
    gpus_per_node: Count | None = None
    context_tokens: Count
    tensor_parallel_size: Count | None = None
    pipeline_parallel_size: Count | None = None
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    gpu_memory_utilization: Annotated[float, Field(ge=0.01, le=1)] | None = None
    kv_cache_dtype: Annotated[str, AfterValidator(_kv_cache)] | None = None
    enforce_eager: bool | None = None
    vllm_version: str | None = None
    quantization: str | None = None

    @property
    def has_sizes(self) -> bool:
        """Whether the row names a shape."""
        return self.tensor_parallel_size is not None or self.pipeline_parallel_size is not None

    def facts(self, base: Path) -> ModelFacts:
        """The model's facts; a config's path is looked up beside the rows, then from here."""
        config = self.config
        if isinstance(config, str):
            file = next((path for path in (base / config, Path(config)) if path.exists()), Path(config))
            file = file / "config.json" if file.is_dir() else file
            config = dict(read_config(read_text(file, str(file.parent)), str(file.parent)))
        return ModelFacts.of(config, weight_bytes=self.weight_bytes, quantization=self.quantization)

    def pool(self) -> GpuPool:
        """The GPUs. `gpuMemoryMiB` is what CUDA reports to the engine."""
        if self.gpu is None and self.gpu_memory_mib is None:
            raise bad("gpu or gpuMemoryMiB: both are missing; one is needed")
        return pool_of(self.gpu or "GPU", self.gpu_memory_mib, self.gpus_per_node or 8)

    def request(self) -> Request:
        """What one replica must hold."""
        share = self.gpu_memory_utilization
        return Request(
            context_tokens=self.context_tokens,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            # A share like 0.29 has no exact binary form: what is meant is its nearest ten-thousandth.
            utilization_hundredths=None if share is None else round(share * 10_000) // 100,
            kv_cache=_KV_CACHES[self.kv_cache_dtype or "auto"],
            enforce_eager=bool(self.enforce_eager),
            keep_seqs=self.max_num_seqs is not None,
            tensor=self.tensor_parallel_size,
            pipeline=self.pipeline_parallel_size,
            engine_version=self.vllm_version or (ANY_RELEASE if self.has_sizes else DEFAULT_ENGINE_VERSION),
        )


def run(rows: Path, standard_input: TextIO, output: TextIO) -> int:
    """Judge every row. Returns the exit code; raises Terminal when there is no such file."""
    code = 0
    for number, line in enumerate(_lines(rows, standard_input), start=1):
        if not line.strip():
            continue
        try:
            answer = judge_line(line, rows.parent)
        except TertiumError as error:
            answer = {"id": _id_of(line), **_NOTHING_KNOWN, "reason": f"row {number}: {error}"}
            code = BAD_INPUT
        output.write(json.dumps(answer, ensure_ascii=False) + "\n")
    return code


def judge_line(line: str, base: Path) -> Answer:
    """Answer one row. Raises Terminal, naming the key that is wrong."""
    document = read_object(line, "the row")
    try:
        row = Row.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        raise bad(f"{first['loc'][0]}: {first['msg']}") from error
    facts = row.facts(base)
    if row.has_sizes:
        return {"id": row.id, **verdict_answer(judge_row(row, facts))}
    return {"id": row.id, **searched(facts, row.pool(), row.request())}


def judge_row(row: Row, facts: ModelFacts) -> Verdict:
    """Judge the shape that a row names; one size that it leaves out is 1."""
    tensor, pipeline = row.tensor_parallel_size or 1, row.pipeline_parallel_size or 1
    return judge(facts, row.pool(), row.request(), tensor, pipeline)


def searched(facts: ModelFacts, pool: GpuPool, request: Request) -> Answer:
    """The smallest shape that fits; where none does, the largest that was legal, with the refusal's words."""
    outcome = search(facts, [pool], request)
    if not isinstance(outcome, Refused):
        return verdict_answer(outcome.verdict)
    tried = [candidate.verdict for candidate in outcome.candidates]
    legal = [verdict for verdict in tried if verdict.valid] or tried
    refusal = {"fits": False, "verdict": f"{outcome.reason}: {outcome.message}", "reason": outcome.message}
    if not legal:
        return {**_NOTHING_KNOWN, **refusal, "valid": outcome.reason is not Reason.INVALID}
    return {**verdict_answer(legal[-1]), **refusal}


def _lines(rows: Path, standard_input: TextIO) -> Iterator[str]:
    if str(rows) == "-":
        yield from standard_input
        return
    try:
        with rows.open(encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError as error:
        raise bad(f"--batch: {rows}: {error.strerror}") from error


def _id_of(line: str) -> Any:
    """The id of a row that is otherwise bad, as far as it can be read."""
    try:
        found = read_object(line, "the row").get("id")
    except TertiumError:
        return None
    return found if isinstance(found, str | int) else None
