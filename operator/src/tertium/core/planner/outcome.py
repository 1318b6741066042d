"""What a search ends with: a plan that starts, or a refusal; and everything that was tried."""

from __future__ import annotations

from dataclasses import dataclass

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import MemoryPlan, PlanStatus
from tertium.core.planner.gpus import GpuPool
from tertium.core.planner.verdict import Memory, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A shape that was tried on a product."""

    pool: GpuPool
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """A plan that starts: the world size, the flags it rests on, and the arithmetic."""

    pool: GpuPool
    verdict: Verdict
    why: str
    candidates: tuple[Candidate, ...]

    @property
    def accelerator(self) -> str:
        """The product planned for."""
        return self.pool.product

    @property
    def gpus_per_replica(self) -> int:
        """The world size."""
        return self.verdict.gpus

    @property
    def tensor_parallel_size(self) -> int:
        """Ranks every layer is split over."""
        return self.verdict.tensor

    @property
    def pipeline_parallel_size(self) -> int:
        """Stages the layers are divided into."""
        return self.verdict.pipeline

    @property
    def nodes(self) -> int:
        """Nodes one replica spans."""
        return self.pool.nodes_needed(self.verdict.tensor, self.verdict.pipeline)

    @property
    def memory(self) -> Memory:
        """Where the memory of each GPU goes."""
        assert self.verdict.memory is not None
        return self.verdict.memory

    @property
    def flags(self) -> tuple[str, ...]:
        """Engine flags the plan rests on."""
        return self.verdict.flags

    def status(self) -> PlanStatus:
        """Return the plan as the API shows it."""
        memory = self.memory
        return PlanStatus(
            accelerator=self.accelerator,
            gpus_per_replica=self.gpus_per_replica,
            tensor_parallel_size=self.tensor_parallel_size,
            pipeline_parallel_size=self.pipeline_parallel_size,
            nodes=self.nodes,
            kv_cache_tokens=self.verdict.kv_tokens,
            max_concurrent_sequences=self.verdict.max_num_seqs,
            memory_per_gpu=MemoryPlan(
                total_mebibytes=memory.total,
                weights_mebibytes=memory.weights,
                activation_mebibytes=max(0, memory.activation),
                non_torch_mebibytes=memory.non_torch,
                cuda_graph_mebibytes=memory.cuda_graph,
                kv_cache_mebibytes=memory.kv_cache,
                headroom_mebibytes=max(0, memory.headroom),
            ),
            flags=self.flags,
            why=self.why,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """There is no plan: why, with the arithmetic, and what would work instead."""

    reason: Reason
    message: str
    candidates: tuple[Candidate, ...] = ()
