"""From the store to one frozen snapshot; live reads only where a Pod's log or Events are the only witness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, ObjectKey
from tertium.core import inspection, names
from tertium.core.engine_image import engine_version
from tertium.core.errors import Retryable, Terminal
from tertium.core.failure import why_waiting
from tertium.core.inspection import Inspection
from tertium.core.learned import Learned
from tertium.core.learning import unmeasured
from tertium.core.lifecycle import EnginePod
from tertium.core.load import load_of
from tertium.core.observed import EngineSet, Facts, Identity, Observed, Owner
from tertium.core.planner import ModelFacts
from tertium.core.policy import Policy
from tertium.core.preparation import prepared_since
from tertium.core.revision import source_digest
from tertium.core.tokens import tally_of
from tertium.kube.cluster import POD, Cluster
from tertium.render.inspection import CONTAINER as INSPECTION_CONTAINER
from tertium.render.manifest import controlled_by
from tertium.runtime.engine_logs import EngineLogs
from tertium.runtime.pod_events import explained, preparation_trouble
from tertium.runtime.store import Store

JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"
_LOG_LINES: Final = 400
_LOG_PATIENCE: Final = timedelta(seconds=10)
"""How long a log that cannot be read is just asked for again; then its Job is run again."""


class Observer:
    """Reads the world for one deployment at a time. Remembers what logs said: they are read once."""

    def __init__(self, cluster: Cluster, store: Store, policy: Policy) -> None:
        self._cluster = cluster
        self._store = store
        self._policy = policy
        self._inspected: dict[ObjectKey, tuple[str, Inspection]] = {}
        self._logs = EngineLogs(cluster)

    def forget(self, key: ObjectKey) -> None:
        """Drop what was remembered of a deployment that is gone."""
        self._inspected.pop(key, None)
        self._logs.forget(key)

    def replicas_of(self, identity: Identity, now: datetime) -> Observed:
        """Return what runs, for a deployment whose spec may not even be readable. Reads the store alone."""
        own = {
            child: manifest
            for child, manifest in self._store.children(identity.key).items()
            if child[0] == "Pod" or controlled_by(manifest, identity)
        }
        load = load_of(identity.key, self._store.reports, now, fresh_seconds=self._policy.load_fresh_seconds)
        streams = load.streams if load else {}
        stated = ("Lease", names.demand_lease(identity.key)) in own
        waits = self._store.demand_seconds(identity.key, now) if stated else 0.0
        pods = [EnginePod.parse(manifest) for manifest in _engine_children(own, "Pod")]
        engines = [EngineSet.parse(manifest) for manifest in _engine_children(own, "Deployment")]
        return Observed(
            engines=tuple(sorted(engines, key=lambda engine: (engine.created, engine.name), reverse=True)),
            pods=tuple(
                replace(pod, streams=streams.get(pod.address, 0) if load else None)
                for pod in pods
                if pod.ended is None
            ),
            ended_pods=tuple(pod for pod in pods if pod.ended is not None),
            demand_until=now + timedelta(seconds=waits) if waits > 0 else None,
            load=load,
            tally=tally_of(identity.key, identity.uid, self._store.reports),
            pools=self._store.pools,
            name_taken_by=self._store.name_taken_by(identity.key),
            children=own,
        )

    async def observe(self, owner: Owner, now: datetime) -> Observed:
        """Return the whole snapshot. Raises `Retryable` when a log that is needed cannot be read now."""
        seen = self.replicas_of(owner.identity, now)
        seen = replace(
            seen,
            pods=tuple([await self._explained(owner.key, pod, now) for pod in seen.pods]),
            engine_version=engine_version(owner.spec.engine.image or self._policy.engine_image),
            learned=_learned(owner, seen.children or {}),
        )
        stored = _stored_facts(owner, seen.children or {})
        if not stored:
            found = await self._inspection(owner, seen.children or {}, now)
            facts = parse_facts(found.facts) if found.state == "done" else None
            return replace(seen, inspection=found, facts=facts)
        seen = replace(seen, facts=parse_facts(stored), facts_stored=True)
        return replace(seen, heard=await self._logs.heard(owner.key, seen.pods, unmeasured(seen)))

    async def _explained(self, key: ObjectKey, pod: EnginePod, now: datetime) -> EnginePod:
        """Return the pod with the words that its manifest lacks."""
        return await explained(self._cluster, key, await self._logs.diagnosed(key, pod), now)

    async def _inspection(
        self, owner: Owner, children: Mapping[tuple[str, str], Manifest], now: datetime
    ) -> Inspection:
        name = names.inspection(owner.key, source_digest(owner.spec.model))
        job = children.get(("Job", name))
        if job is None:
            return inspection.ABSENT
        end = inspection.ended(job)
        if end is None:
            return await self._running(owner, _pods_of_job(name, children), now)
        known, found = self._inspected.get(owner.key, ("", inspection.ABSENT))
        if known != job["metadata"]["uid"]:
            try:
                found = await self._read_inspection(owner.key, name, end[1])
            except Retryable as fault:
                if now - end[1] < _LOG_PATIENCE:
                    raise
                return Inspection(
                    state="failed",
                    reason=Reason.INSPECTION_FAILED,
                    message=f"The inspection has ended, but its log cannot be read: {fault}",
                    failed_at=end[1],
                )
            self._inspected[owner.key] = (job["metadata"]["uid"], found)
        return found

    async def _running(self, owner: Owner, pods: Sequence[Manifest], now: datetime) -> Inspection:
        """Return an inspection under way, with what holds it up where something does."""
        reading = f"Reading the model's config and weight sizes from {owner.spec.model.source}"
        if not pods:
            return Inspection(state="running", message=reading)
        pod = pods[0]
        preparing, uid = prepared_since(pod), pod["metadata"]["uid"]
        trouble = await preparation_trouble(self._cluster, owner.key.namespace, uid, preparing, now)
        words = why_waiting(pod) or trouble.words
        message = f"{reading}: {words}" if words else reading
        return Inspection(state="running", message=message, preparing=preparing)

    async def _read_inspection(self, key: ObjectKey, job: str, at: datetime) -> Inspection:
        # Asked for live: the Job's end may be known here before its Pod is.
        pods = await self._cluster.list(POD, namespace=key.namespace, labels=f"{JOB_NAME_LABEL}={job}")
        output = ""
        for pod in pods:
            output = await self._cluster.pod_log(
                ObjectKey.of(pod), INSPECTION_CONTAINER, tail_lines=_LOG_LINES
            )
        gone = f"Job {key.namespace}/{job} ended without a word; its Pod's log is gone"
        return inspection.parse_output(output, at, otherwise=gone)


@lru_cache(maxsize=1024)
def parse_facts(text: str) -> Facts:
    """Read stored facts; what cannot be sized says so by its refusal."""
    try:
        return Facts(text=text, model=ModelFacts.parse(text), refusal=None)
    except Terminal as error:
        return Facts(text=text, model=None, refusal=error)


def _stored_facts(owner: Owner, children: Mapping[tuple[str, str], Manifest]) -> str:
    """Return the stored facts' text if they are about the source the spec names now, else nothing."""
    stored = children.get(("ConfigMap", names.facts(owner.key)), {})
    annotations = stored.get("metadata", {}).get("annotations") or {}
    if annotations.get(names.SOURCE_DIGEST_ANNOTATION) != source_digest(owner.spec.model):
        return ""
    return str((stored.get("data") or {}).get(names.FACTS_KEY, ""))


def _learned(owner: Owner, children: Mapping[tuple[str, str], Manifest]) -> Learned:
    stored = children.get(("ConfigMap", names.learned(owner.key)), {})
    return Learned.parse(str((stored.get("data") or {}).get(names.LEARNED_KEY, "")))


def _pods_of_job(job: str, children: Mapping[tuple[str, str], Manifest]) -> list[Manifest]:
    return [
        manifest
        for (kind, _), manifest in children.items()
        if kind == "Pod" and (manifest["metadata"].get("labels") or {}).get(JOB_NAME_LABEL) == job
    ]


def _engine_children(children: Mapping[tuple[str, str], Manifest], kind: str) -> list[Manifest]:
    return [
        manifest
        for (child_kind, _), manifest in children.items()
        if child_kind == kind and (manifest["metadata"].get("labels") or {}).get(names.COMPONENT) == "engine"
    ]
