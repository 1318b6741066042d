"""GPU time a deployment has used, in whole GPU-seconds. Pure; its only memory is the status.

A replica is listed as open from when it has a node until its pod is gone, and is added to the sums exactly
then: sums and list stand in one object that is written in one step, so a crash between two passes repeats
nothing and loses nothing. The status changes only when a replica comes, becomes ready or goes.

A pod that went while no operator looked is counted until it is missed. One that came and went in that time
was never seen and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tertium.api.meta import format_time, parse_time
from tertium.api.v1alpha1 import OpenReplica, Usage
from tertium.core.lifecycle import EnginePod

_MOST_OPEN = 1000
"""What the API's list may hold; a replica beyond it is counted from its beginning once there is room."""


def account(before: Usage, pods: Iterable[EnginePod], now: datetime) -> Usage:
    """Return the account after a look at all pods of the deployment, ended ones included.

    | listed as open | pod                    | result                                  |
    | no             | no node, ended or lost | -                                       |
    | no             | has a node             | listed from when it got it              |
    | yes            | became ready           | listed with that time; it is kept       |
    | yes            | gone, ended or lost    | its seconds go to the sums, off the list |
    """
    there = {pod.name: pod for pod in pods}
    known = {replica.pod: replica for replica in before.open}
    serving, starting = before.serving_gpu_seconds, before.starting_gpu_seconds
    for replica in before.open:
        pod = there.get(replica.pod)
        if pod is None or _is_over(pod):
            served, started = _seconds(replica, pod.ended if pod and pod.ended else now)
            serving, starting = serving + served, starting + started
    alive = [pod for pod in there.values() if not _is_over(pod)]
    opened = [entry for pod in alive if (entry := _entry(known.get(pod.name), pod)) is not None]
    opened.sort(key=lambda replica: (replica.pod not in known, replica.started_at, replica.pod))
    listed = sorted(opened[:_MOST_OPEN], key=lambda replica: (replica.started_at, replica.pod))
    return before.model_copy(
        update={
            "serving_gpu_seconds": serving,
            "starting_gpu_seconds": starting,
            "open": tuple(listed),
        }
    )


def _is_over(pod: EnginePod) -> bool:
    return pod.ended is not None or pod.lost


def _entry(known: OpenReplica | None, pod: EnginePod) -> OpenReplica | None:
    """Return the entry of a living pod, or None while it holds no GPU."""
    if known is not None:
        if known.serving_since is not None or pod.ready is None:
            return known
        return known.model_copy(update={"serving_since": format_time(pod.ready)})
    if pod.scheduled is None or pod.gpus == 0:
        return None
    return OpenReplica(
        pod=pod.name,
        gpus=pod.gpus,
        started_at=format_time(pod.scheduled),
        serving_since=format_time(pod.ready) if pod.ready is not None else None,
    )


def _seconds(replica: OpenReplica, end: datetime) -> tuple[int, int]:
    """Return the GPU-seconds of serving and of starting of a replica that is gone since `end`."""
    begun = parse_time(replica.started_at)
    ready = parse_time(replica.serving_since) if replica.serving_since else end
    ready = min(max(ready, begun), max(end, begun))
    return (
        replica.gpus * max(0, int((end - ready).total_seconds())),
        replica.gpus * int((ready - begun).total_seconds()),
    )
