"""From the store to one frozen snapshot; live reads only where a Pod's log is the only witness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from tertium.api.conditions import Reason
from tertium.api.meta import Manifest, ObjectKey
from tertium.core import inspection, names
from tertium.core.errors import Retryable, Terminal, TertiumError
from tertium.core.inspection import Inspection
from tertium.core.lifecycle import EnginePod, why_waiting
from tertium.core.load import load_of
from tertium.core.observed import Engine, Facts, Identity, Observed, Owner, parse_demand
from tertium.core.planner import ModelFacts
from tertium.core.policy import Policy
from tertium.core.revision import source_digest
from tertium.engine.log import failure_sentence
from tertium.kube.cluster import POD, Cluster
from tertium.render.inspection import CONTAINER as INSPECTION_CONTAINER
from tertium.render.manifest import controlled_by
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
        self._engine_words: dict[ObjectKey, tuple[str, str]] = {}

    def forget(self, key: ObjectKey) -> None:
        """Drop what was remembered of a deployment that is gone."""
        self._inspected.pop(key, None)
        self._engine_words.pop(key, None)

    def replicas_of(self, identity: Identity, now: datetime) -> Observed:
        """Return what runs, for a deployment whose spec may not even be readable. Reads the store alone."""
        own = {
            child: manifest
            for child, manifest in self._store.children(identity.key).items()
            if child[0] == "Pod" or controlled_by(manifest, identity)
        }
        deployment = own.get(("Deployment", names.engine(identity.key)))
        pods = [manifest for (kind, _), manifest in own.items() if kind == "Pod"]
        return Observed(
            engine=Engine.parse(deployment) if deployment else None,
            pods=tuple(EnginePod.parse(pod) for pod in pods if _is_replica(pod)),
            demand_until=parse_demand(own.get(("Lease", names.demand_lease(identity.key)))),
            load=load_of(
                identity.key, self._store.reports, now, fresh_seconds=self._policy.load_fresh_seconds
            ),
            pools=self._store.pools,
            children=own,
        )

    async def observe(self, owner: Owner, now: datetime) -> Observed:
        """Return the whole snapshot. Raises `Retryable` when a log that is needed cannot be read now."""
        seen = self.replicas_of(owner.identity, now)
        seen = replace(seen, pods=tuple([await self._with_words(owner.key, pod) for pod in seen.pods]))
        stored = _stored_facts(owner, seen.children or {})
        if stored:
            return replace(seen, facts=parse_facts(stored), facts_stored=True)
        found = await self._inspection(owner, seen.children or {}, now)
        facts = parse_facts(found.facts) if found.state == "done" else None
        return replace(seen, inspection=found, facts=facts)

    async def _with_words(self, key: ObjectKey, pod: EnginePod) -> EnginePod:
        """Return the pod with the engine's own words about its failed start, read from its log once."""
        failure = pod.failure
        if failure is None or failure.exit_code is None:
            return pod
        known, words = self._engine_words.get(key, ("", ""))
        if known != pod.name:
            try:
                log = await self._cluster.pod_log(
                    ObjectKey(key.namespace, pod.name),
                    names.ENGINE_CONTAINER,
                    tail_lines=_LOG_LINES,
                    previous=failure.restarted,
                )
            except TertiumError:
                # GPUs are not kept waiting for better words than the kubelet's.
                return pod
            words = failure_sentence(log)
            self._engine_words[key] = (pod.name, words)
        return replace(pod, failure=replace(failure, words=words or failure.words))

    async def _inspection(
        self, owner: Owner, children: Mapping[tuple[str, str], Manifest], now: datetime
    ) -> Inspection:
        name = names.inspection(owner.key, source_digest(owner.spec.model))
        job = children.get(("Job", name))
        if job is None:
            return inspection.ABSENT
        end = inspection.ended(job)
        if end is None:
            waits = [why_waiting(pod) for pod in _pods_of_job(name, children)]
            reading = f"Reading the model's config and weight sizes from {owner.spec.model.source}"
            return Inspection(
                state="running", message=f"{reading}: {waits[0]}" if waits and waits[0] else reading
            )
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


def _pods_of_job(job: str, children: Mapping[tuple[str, str], Manifest]) -> list[Manifest]:
    return [
        manifest
        for (kind, _), manifest in children.items()
        if kind == "Pod" and (manifest["metadata"].get("labels") or {}).get(JOB_NAME_LABEL) == job
    ]


def _is_replica(pod: Manifest) -> bool:
    """Whether a Pod is a replica; an evicted one stays as a record, and another runs in its place."""
    component = (pod["metadata"].get("labels") or {}).get(names.COMPONENT)
    return component == "engine" and (pod.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
