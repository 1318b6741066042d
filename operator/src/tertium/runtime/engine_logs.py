"""What the logs of engine pods say, read once each: why a start failed, what one that succeeded measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from tertium.api.meta import ObjectKey
from tertium.core import names
from tertium.core.diagnosis import Diagnosis
from tertium.core.errors import TertiumError
from tertium.core.lifecycle import EnginePod
from tertium.core.planner import Measured
from tertium.engine.diagnosis import diagnose
from tertium.engine.measurements import measured
from tertium.kube.cluster import Cluster

_TAIL_LINES: Final = 400


class EngineLogs:
    """Reads logs through the API server and remembers what they came to, a pod of each deployment."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._diagnoses: dict[ObjectKey, tuple[str, Diagnosis | None]] = {}

    def forget(self, key: ObjectKey) -> None:
        """Drop what was remembered of a deployment that is gone."""
        self._diagnoses.pop(key, None)

    async def diagnosed(self, key: ObjectKey, pod: EnginePod) -> EnginePod:
        """Return the pod with what the engine itself says of its failed start."""
        failure = pod.failure
        if failure is None or failure.exit_code is None:
            return pod
        known, said = self._diagnoses.get(key, ("", None))
        if known != pod.uid:
            # GPUs are not kept waiting for better words than the kubelet's.
            log = await self._read(key, pod, tail_lines=_TAIL_LINES, previous=failure.restarted)
            if log is None:
                return pod
            said = diagnose(log)
            self._diagnoses[key] = (pod.uid, said)
        if said is None:
            return pod
        return replace(pod, failure=replace(failure, words=said.sentence, diagnosis=said))

    async def heard(
        self, key: ObjectKey, pods: Sequence[EnginePod], revisions: AbstractSet[str]
    ) -> Mapping[str, Measured]:
        """Return what replicas of `revisions` measured when they started, as soon as one answers.

        The engine measures before it answers, so the log's beginning has it, however long ago that was.
        """
        found: dict[str, Measured] = {}
        for pod in pods:
            if pod.ready is not None and pod.revision in revisions and pod.revision not in found:
                log = await self._read(key, pod, tail_lines=None, previous=False)
                if log is not None:
                    found[pod.revision] = measured(log)
        return found

    async def _read(
        self, key: ObjectKey, pod: EnginePod, *, tail_lines: int | None, previous: bool
    ) -> str | None:
        try:
            return await self._cluster.pod_log(
                ObjectKey(key.namespace, pod.name),
                names.ENGINE_CONTAINER,
                tail_lines=tail_lines,
                previous=previous,
            )
        except TertiumError:
            return None
