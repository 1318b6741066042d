"""What a replica waits for, in words that stay the same while it waits.

The scheduler counts nodes in its messages, and counts change; here they are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from tertium.api.conditions import Reason
from tertium.api.v1alpha1 import Placement
from tertium.core.lifecycle import GPU_RESOURCES, EnginePod
from tertium.core.observed import Observed

_NODES: Final = re.compile(
    r"^\d+/\d+ nodes are available: (?P<reasons>.*?)\.?(?:\s(?:preemption|no new claims).*)?$"
)
_COUNT: Final = re.compile(r"^\d+ (?:node\(s\) )?")
_NO_GPU: Final = f"Insufficient {GPU_RESOURCES}"


def for_a_node(pod: EnginePod, observed: Observed, placements: Sequence[Placement]) -> tuple[Reason, str]:
    """Return why `pod` has no node: for want of GPUs, with what was tried before, or for another reason."""
    product = next((engine.accelerator for engine in observed.engines if engine.revision == pod.revision), "")
    pool = next((pool for pool in observed.pools if pool.product == product), None)
    if pool is not None and _NO_GPU not in pod.waits_for:
        return Reason.UNSCHEDULABLE, f"No node takes a replica: {scheduler_reasons(pod.waits_for)}"
    waits = sum(other.unschedulable and other.revision == pod.revision for other in observed.pods)
    who = "A replica needs" if waits == 1 else f"{waits} replicas need each"
    gpus = f"{pod.gpus} free GPU{'s' if pod.gpus > 1 else ''} of {product or 'its product'} on one node"
    has = "no node has any"
    if pool is not None:
        has = f"no node has so many free (the largest has {pool.gpus_per_node})"
    tried = "".join(f"; {_name(placement)} could not be had either" for placement in placements)
    return Reason.WAITING_FOR_GPU, f"{who} {gpus}, and {has}{tried}"


def scheduler_reasons(message: str) -> str:
    """Return the reasons in a scheduler's message without its counts; one of another form is left as it is.

    >>> scheduler_reasons("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. ...")
    'Insufficient cpu, were unschedulable'
    """
    found = _NODES.match(message)
    if found is None:
        return message
    return ", ".join(sorted({_COUNT.sub("", reason.strip()) for reason in found["reasons"].split(", ")}))


def held_back(observed: Observed) -> str:
    """Return what holds back a replica that is not ready yet, or took one away; empty: nothing is known."""
    starting = [pod for pod in observed.pods if not pod.terminating and pod.ready is None]
    for pod in starting:
        if pod.waits_for:
            return pod.waits_for
    taken = [pod.taken_by for pod in observed.pods if pod.taken_by]
    if taken:
        return taken[0]
    return "A replica no longer answers /health" if any(pod.served for pod in starting) else ""


def missing_secret(name: str, words: Iterable[str]) -> str:
    """Return what is wrong with the Secret that pods wait for, by the kubelet's `words`; empty: nothing."""
    for text in words:
        if f'secret "{name}" not found' in text:
            return "does not exist; create it"
        if re.search(rf"couldn't find key \S+ in Secret \S+/{re.escape(name)}\b", text):
            return "has no key `token`; add it"
    return ""


def missing_claim(claim: str, words: Iterable[str]) -> bool:
    """Whether pods wait for a claim that does not exist, by the scheduler's `words`."""
    return any(f'persistentvolumeclaim "{claim}" not found' in text for text in words)


def _name(placement: Placement) -> str:
    return f"{placement.accelerator} (spot)" if placement.spot else placement.accelerator
