"""What the Events of a pod say while the kubelet is late with it: the only witness of its volumes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tertium.api.meta import ObjectKey
from tertium.core.errors import TertiumError
from tertium.core.failure import StartFailure
from tertium.core.lifecycle import EnginePod
from tertium.core.preparation import PATIENCE, trouble_of
from tertium.kube.cluster import EVENT, Cluster


async def explained(cluster: Cluster, key: ObjectKey, pod: EnginePod, now: datetime) -> EnginePod:
    """Return a pod whose preparation takes long with the reason; any other pod as it is.

    Events that cannot be read say nothing: no decision waits for better words.
    """
    if pod.terminating or pod.preparing is None or now - pod.preparing < PATIENCE:
        return pod
    about = f"involvedObject.uid={pod.uid}"
    try:
        trouble = trouble_of(await cluster.list(EVENT, namespace=key.namespace, fields=about))
    except TertiumError:
        return pod
    failure = StartFailure(words=trouble.words) if trouble.hopeless else pod.failure
    return replace(pod, waits_for=trouble.words or pod.waits_for, failure=failure)
