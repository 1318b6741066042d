"""What the engine itself said about its plans, kept for the next one: measurements and repairs.

Pure. The memory is one ConfigMap of the deployment. A measurement replaces the planner's model of that very
model, GPU, shape, engine and flags; a repair changes what the planner is asked for one product. Nothing
here restarts what serves: a plan that has become wiser counts when nothing holds a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tertium.api.v1alpha1 import PlanStatus
from tertium.core.diagnosis import Diagnosis, Fault
from tertium.core.learned import Learned
from tertium.core.lifecycle import start_failure
from tertium.core.observed import EngineSet, Observed, Owner
from tertium.core.planner import Memory, Repair, drift_percent, measurement_key, repair_key

_PLAN: Final = "the plan's "
_MOST_MEASURED: Final = 64
_MOST_ANSWERED: Final = 32
_NOTEWORTHY_PERCENT: Final = 5


def learn(owner: Owner, observed: Observed, now: datetime) -> Learned:
    """Return what is known after this look at the world.

    | seen                                                  | learned                             |
    | a replica answers, its log was read                   | what it measured                    |
    | a start failed, unanswered so far, something can help | a repair; the revision is given up  |
    | a start failed, and nothing (more) can help           | nothing: it rests and is told       |
    """
    if not observed.digest:
        return observed.learned
    learned, digest, version = observed.learned, observed.digest, observed.engine_version
    for revision, seen in observed.heard.items():
        engine = observed.made_by(revision)
        if engine is not None:
            key = key_of(engine, digest, version)
            kept = dict([*learned.measured.items()][-_MOST_MEASURED + 1 :])
            learned = replace(learned, measured={**kept, key: seen})
    for revision, diagnosis in _diagnoses(owner, observed, now):
        engine = observed.made_by(revision)
        if engine is None or revision in learned.answered:
            continue
        key = repair_key(digest, engine.accelerator, version)
        repair = next_repair(learned.repairs.get(key, Repair()), diagnosis, _run_of(engine))
        if repair is not None:
            learned = replace(
                learned,
                repairs={**learned.repairs, key: repair},
                answered=(*learned.answered, revision)[-_MOST_ANSWERED:],
            )
    return learned


def unmeasured(observed: Observed) -> AbstractSet[str]:
    """Return the revisions of which nothing is known that their replicas measured."""
    digest = observed.digest
    if not digest:
        return frozenset()
    known = observed.learned.measured
    return {
        engine.revision
        for engine in observed.engines
        if engine.document and key_of(engine, digest, observed.engine_version) not in known
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How the engine was run when it failed."""

    gpus: int
    max_num_seqs: int
    pinned: bool = False
    """Whether the user fixed the number of GPUs."""


def next_repair(before: Repair, diagnosis: Diagnosis, run: Run) -> Repair | None:
    """Return what to change before the next start, each kind of change at most once; None: nothing helps.

    The context is what the user asked for, so it is never shortened.

    | fault                              | first              | then            | then      |
    | more sequences than state blocks   | as many as blocks  | more GPUs       | -         |
    | one sequence does not fit          | more GPUs          | -               | -         |
    | nothing left for the cache         | half the sequences | more GPUs       | -         |
    | memory ran out while starting      | half the sequences | no CUDA graphs  | more GPUs |
    | another process holds the memory   | -                  | -               | -         |
    | any other                          | -                  | -               | -         |
    """
    return next(_changes(before, diagnosis, run), None)


def _changes(before: Repair, diagnosis: Diagnosis, run: Run) -> Iterator[Repair]:
    kind, blocks = diagnosis.kind, diagnosis.blocks
    if before.max_num_seqs is None:
        if kind is Fault.TOO_MANY_SEQUENCES and blocks is not None and 0 < blocks < run.max_num_seqs:
            yield replace(before, max_num_seqs=blocks)
        if kind in (Fault.NO_CACHE_BLOCKS, Fault.OUT_OF_MEMORY) and run.max_num_seqs > 1:
            yield replace(before, max_num_seqs=run.max_num_seqs // 2)
    if kind is Fault.OUT_OF_MEMORY and not before.enforce_eager:
        yield replace(before, enforce_eager=True)
    memory = (Fault.TOO_MANY_SEQUENCES, Fault.SEQUENCE_TOO_LONG, Fault.NO_CACHE_BLOCKS, Fault.OUT_OF_MEMORY)
    if kind in memory and before.least_gpus == 1 and not run.pinned:
        yield replace(before, least_gpus=run.gpus + 1)


def key_of(engine: EngineSet, digest: str, version: str) -> str:
    """Return the key under which a revision's measurement is kept; the planner asks by the same."""
    return measurement_key(digest, engine.accelerator, version, flags_of(engine))


def flags_of(engine: EngineSet) -> Sequence[str]:
    """Return the engine flags of the plan that a revision was made by."""
    options = {
        name.removeprefix(_PLAN): value
        for name, value in engine.document.items()
        if name.startswith(f"{_PLAN}--")
    }
    return [f"{option}={value}" if value else option for option, value in options.items()]


def _diagnoses(owner: Owner, observed: Observed, now: datetime) -> Iterator[tuple[str, Diagnosis]]:
    for pod in observed.pods:
        failure = start_failure(pod, now, owner.spec.engine.start_seconds)
        if failure is not None and failure.diagnosis is not None:
            yield pod.revision, failure.diagnosis


def _run_of(engine: EngineSet) -> Run:
    flags = flags_of(engine)
    tensor, pipeline = (_number(flags, f"--{kind}-parallel-size", 1) for kind in ("tensor", "pipeline"))
    return Run(
        gpus=tensor * pipeline,
        max_num_seqs=_number(flags, "--max-num-seqs", 1),
        pinned="spec.parallelism.tensor" in engine.document,
    )


def _number(flags: Sequence[str], option: str, otherwise: int) -> int:
    values = dict(flag.partition("=")[::2] for flag in flags)
    text = values.get(option, "")
    return int(text) if text.isdecimal() else otherwise


def drift_of(observed: Observed, revision: str, plan: PlanStatus) -> Mapping[str, int]:
    """Return by how many percent of a GPU's budget the engine measured more than was planned, by part.

    Empty while nothing was measured of this revision.
    """
    engine, digest = observed.made_by(revision), observed.digest
    if engine is None or not digest:
        return {}
    seen = observed.learned.measured.get(key_of(engine, digest, observed.engine_version))
    if seen is None:
        return {}
    parts = plan.memory_per_gpu
    used = sum(
        (
            *(parts.weights_mebibytes, parts.activation_mebibytes, parts.non_torch_mebibytes),
            *(parts.cuda_graph_mebibytes, parts.kv_cache_mebibytes),
        )
    )
    planned = Memory(
        total=parts.total_mebibytes,
        budget=used + parts.headroom_mebibytes,
        weights=parts.weights_mebibytes,
        activation=parts.activation_mebibytes,
        non_torch=parts.non_torch_mebibytes,
        cuda_graph=parts.cuda_graph_mebibytes,
        kv_cache=parts.kv_cache_mebibytes,
        margin=0,
    )
    return drift_percent(planned, seen)


def drift_words(drift: Mapping[str, int]) -> str:
    """Say where the engine's measurement is far from the plan; empty where it is not."""
    far = [f"{part} {percent:+} %" for part, percent in drift.items() if abs(percent) > _NOTEWORTHY_PERCENT]
    return f"The engine measured otherwise, in shares of the GPU's budget: {', '.join(far)}" if far else ""
