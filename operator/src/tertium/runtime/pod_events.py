"""What the Events of a pod say while the kubelet is late with it: the only witness of its volumes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from tertium.api.meta import ObjectKey
from tertium.core.errors import TertiumError
from tertium.core.failure import StartFailure
from tertium.core.lifecycle import EnginePod
from tertium.core.preparation import PATIENCE, Trouble, trouble_of
from tertium.kube.cluster import EVENT, Cluster


async def explained(cluster: Cluster, key: ObjectKey, pod: EnginePod, now: datetime) -> EnginePod:
    """Return a pod whose preparation takes long with the reason; any other pod as it is."""
    trouble = await preparation_trouble(cluster, key.namespace, pod.uid, pod.preparing, now)
    failure = StartFailure(words=trouble.words) if trouble.hopeless else pod.failure
    return replace(pod, waits_for=trouble.words or pod.waits_for, failure=failure)


async def preparation_trouble(
    cluster: Cluster, namespace: str, uid: str, preparing: datetime | None, now: datetime
) -> Trouble:
    """Return what is wrong with a pod's volumes or network, where they have been `preparing` for long.

    Events that cannot be read say nothing: no decision waits for better words.
    """
    if preparing is None or now - preparing < PATIENCE:
        return Trouble()
    try:
        return trouble_of(await cluster.list(EVENT, namespace=namespace, fields=f"involvedObject.uid={uid}"))
    except TertiumError:
        return Trouble()
