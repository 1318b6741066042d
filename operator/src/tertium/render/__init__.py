"""Manifests from decisions, as plain dictionaries. Pure; knows neither a client nor a clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.inspection import Step
from tertium.core.observed import Observed, Owner
from tertium.core.plan import Plan
from tertium.core.planner import Sizing
from tertium.core.policy import Policy
from tertium.core.revision import source_digest
from tertium.render.deployment import build_deployment, rescaled
from tertium.render.inspection import build_facts, build_inspection
from tertium.render.lease import build_lease
from tertium.render.service import build_service


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the executor makes true: first all of `apply`, in order, then all of `drop`."""

    apply: tuple[Manifest, ...]
    reserved: tuple[tuple[str, str], ...] = ()
    """Kinds and names of objects that come later: somebody else's must not be found there only then."""
    drop: tuple[Manifest, ...] = ()
    """Live objects that are no longer wanted."""


def build_all(owner: Owner, plan: Plan, observed: Observed, policy: Policy) -> Desired:
    """Return everything that belongs to `owner`; what waits for a plan comes last."""
    return Desired(
        apply=(
            build_lease(owner, policy),
            build_service(owner),
            *_model(owner, plan, observed, policy),
            *_engine(owner, plan, observed, policy),
        ),
        reserved=(("Deployment", names.engine(owner.key)), ("ConfigMap", names.facts(owner.key))),
        drop=tuple(_spent_inspections(owner, plan, observed)),
    )


def _model(owner: Owner, plan: Plan, observed: Observed, policy: Policy) -> Iterator[Manifest]:
    if observed.facts is not None:
        yield build_facts(owner, observed.facts.text)
    elif plan.inspect is Step.START:
        yield build_inspection(owner, policy)


def _engine(owner: Owner, plan: Plan, observed: Observed, policy: Policy) -> Iterator[Manifest]:
    replicas = plan.scale.replicas
    live = (observed.children or {}).get(("Deployment", names.engine(owner.key)))
    if isinstance(plan.sizing, Sizing):
        revision = observed.facts.revision if observed.facts else ""
        yield build_deployment(owner, plan.sizing, replicas=replicas, revision=revision, policy=policy)
    elif live is not None and observed.replicas != replicas:
        yield rescaled(owner, live, replicas=replicas)


def _spent_inspections(owner: Owner, plan: Plan, observed: Observed) -> Iterator[Manifest]:
    """Yield the Jobs of other sources, and the current one once its facts are kept or it is tried again."""
    current = names.inspection(owner.key, source_digest(owner.spec.model))
    for (kind, name), live in (observed.children or {}).items():
        if kind == "Job" and (name != current or plan.inspect in (Step.NONE, Step.STORE, Step.RETRY)):
            yield live
