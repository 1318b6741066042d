"""Manifests from decisions, as plain dictionaries. Pure; knows neither a client nor a clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tertium.api.meta import Manifest
from tertium.core import names
from tertium.core.inspection import Step
from tertium.core.observed import Observed, Owner
from tertium.core.plan import Plan
from tertium.core.policy import Policy
from tertium.core.revision import source_digest
from tertium.render.deployment import build_deployment
from tertium.render.inspection import build_facts, build_inspection
from tertium.render.learned import build_learned
from tertium.render.lease import build_lease
from tertium.render.service import build_service


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescaled:
    """A live object that stays as it is but for its replica count."""

    live: Manifest
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What the executor makes true. Counts go down before anything is applied, and up afterwards."""

    apply: tuple[Manifest, ...]
    reserved: tuple[tuple[str, str], ...] = ()
    """Kinds and names of objects that come later: somebody else's must not be found there only then."""
    rescale: tuple[Rescaled, ...] = ()
    costs: Mapping[str, int] = field(default_factory=dict)
    """Deletion cost by pod, wanted before a count goes down."""
    drop: tuple[Manifest, ...] = ()
    """Live objects that are no longer wanted."""


def build_all(owner: Owner, plan: Plan, observed: Observed, policy: Policy) -> Desired:
    """Return everything that belongs to `owner`; what waits for a plan comes last."""
    made = {goal.revision for goal in plan.engines if goal.blueprint is not None}
    sets = {engine.revision: engine for engine in observed.engines if engine.revision not in made}
    children = observed.children or {}
    former = [
        (goal, sets[goal.revision], children[("Deployment", sets[goal.revision].name)])
        for goal in plan.engines
        if goal.revision in sets
    ]
    return Desired(
        apply=(
            build_lease(owner),
            build_service(owner),
            *_model(owner, plan, observed, policy),
            *_engine(owner, plan),
        ),
        reserved=(("ConfigMap", names.facts(owner.key)),),
        rescale=tuple(
            Rescaled(live=live, replicas=goal.replicas)
            for goal, engine, live in former
            if engine.replicas != goal.replicas
        ),
        costs=plan.costs,
        drop=(
            *(live for goal, _, live in former if goal.drop),
            *_spent_inspections(owner, plan, observed),
        ),
    )


def _model(owner: Owner, plan: Plan, observed: Observed, policy: Policy) -> Iterator[Manifest]:
    if observed.facts is not None:
        yield build_facts(owner, observed.facts.text)
    elif plan.inspect is Step.START:
        yield build_inspection(owner, policy)
    learned = build_learned(owner, plan.learned)
    if learned is not None:
        yield learned


def _engine(owner: Owner, plan: Plan) -> Iterator[Manifest]:
    for goal in plan.engines:
        if goal.blueprint is not None:
            yield build_deployment(owner.identity, goal.blueprint, replicas=goal.replicas)


def _spent_inspections(owner: Owner, plan: Plan, observed: Observed) -> Iterator[Manifest]:
    """Yield the Jobs of other sources, and the current one once its facts are kept or it is tried again."""
    current = names.inspection(owner.key, source_digest(owner.spec.model))
    for (kind, name), live in (observed.children or {}).items():
        if kind == "Job" and (name != current or plan.inspect in (Step.NONE, Step.STORE, Step.RETRY)):
            yield live
