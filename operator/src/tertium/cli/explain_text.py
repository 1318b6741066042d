"""A rehearsal as text for people. It must not know where the snapshot came from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tertium.api.meta import ObjectKey, format_time
from tertium.core.decide import rest_after_failed_start
from tertium.core.scaling import RULES
from tertium.runtime.controller import Outcome
from tertium.runtime.rehearsal import Rehearsal
from tertium.runtime.snapshot import Snapshot

_WIDTH: Final = 110
_REST_OF_LINE: Final = 38
_SENTENCES: Final = {
    rule.__name__: (rule.__doc__ or "").strip().splitlines()[0] for rule in (*RULES, rest_after_failed_start)
}


def explain_text(key: ObjectKey, snapshot: Snapshot, rehearsal: Rehearsal, *, redacted: bool) -> str:
    """Return the explanation, ending in a line feed."""
    lines = [f"{key} at {format_time(snapshot.taken_at)}", ""]
    if redacted:
        lines += [
            "Values of environment variables were left out of this snapshot, so revisions differ from the",
            "cluster's wherever there are any. Save it --with-values to see the same.",
            "",
        ]
    lines += _decision(rehearsal)
    if snapshot.reports is None:
        lines.append("load       not known: the gateway's pods could not be asked")
    lines += ["", "conditions", *_conditions(rehearsal.status)]
    lines += ["", "would do", *_actions(rehearsal)]
    return "\n".join(lines) + "\n"


def _decision(rehearsal: Rehearsal) -> Iterator[str]:
    outcome = rehearsal.outcome
    if outcome is None:
        yield f"decision   none yet: {rehearsal.fault}"
        return
    desired = (rehearsal.status.get("scaling") or {}).get("desired")
    if not outcome.rule:
        yield f"decision   {outcome.result}: {outcome.why}"
        return
    yield f"decision   {desired} replica{'' if desired == 1 else 's'}: {outcome.why}"
    yield f"rule       {outcome.rule}: {_SENTENCES[outcome.rule]}"
    yield from _details(outcome, rehearsal.status)


def _details(outcome: Outcome, status: Mapping[str, Any]) -> Iterator[str]:
    plan = status.get("plan")
    if plan is not None:
        gpus = plan["gpusPerReplica"]
        yield f"plan       {gpus} GPU{'' if gpus == 1 else 's'} {plan['accelerator']} per replica"
    if outcome.difference:
        yield f"rollout    {outcome.difference}"
    if outcome.requeue_after is not None:
        yield f"next       asked again in {outcome.requeue_after:.0f} s"


def _conditions(status: Mapping[str, Any]) -> Iterator[str]:
    for condition in status.get("conditions") or ():
        head = f"  {condition['type']:<13}{condition['status']:<9}{condition['reason']:<22}"
        yield textwrap.fill(
            head + condition.get("message", ""), _WIDTH, subsequent_indent=" " * _REST_OF_LINE
        ).rstrip()


def _actions(rehearsal: Rehearsal) -> Iterator[str]:
    actions = rehearsal.outcome.actions if rehearsal.outcome else ()
    if not actions:
        yield "  nothing: all is as it should be" if rehearsal.outcome else "  look again"
    for action in (*actions, *(f"event {event}" for event in rehearsal.events)):
        yield f"  {action}"
