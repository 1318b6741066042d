"""Which GPUs can be planned for, in order of preference, each with its own plan. Pure; knows no time."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from tertium.api.conditions import ConditionType, Reason
from tertium.api.v1alpha1 import LLMDeploymentSpec
from tertium.core.blueprint import wish, wishes
from tertium.core.learned import Learned
from tertium.core.observed import EngineSet, Facts, Observed, Owner
from tertium.core.plan import Sized
from tertium.core.planner import GpuPool, Refused, size

Choice: TypeAlias = tuple[str, bool | None]
"""A GPU product and whether spot nodes are asked for, as in `spec.accelerators`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A choice and the plan for it."""

    choice: Choice
    sizing: Sized


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What the planner's answer depends on; the rest of the spec does not tell questions apart."""

    facts: Facts
    pools: tuple[GpuPool, ...]
    asked: str
    engine_version: str
    learned: str
    spec: LLMDeploymentSpec = field(compare=False)


def choose(owner: Owner, observed: Observed, without: AbstractSet[Choice]) -> Option | Refused:
    """Return the first entry of `spec.accelerators`, or the cheapest product, that fits the model.

    A product whose nodes are all gone is still planned for as it was: an autoscaler that took them away
    brings them back only for a pod that asks.
    """
    order = [(item.product, item.spot) for item in owner.spec.accelerators]
    order = [choice for choice in order if choice not in without]
    products = {product for product, _ in order}
    found = _ask(
        owner.spec,
        observed,
        order,
        [
            pool
            for pool in observed.pools
            if (pool.product in products if owner.spec.accelerators else (pool.product, None) not in without)
        ],
    )
    gone = _without_nodes(owner, observed)
    if gone is not None and gone.choice not in without and _comes_first(gone.choice, found, order):
        return gone
    if isinstance(found, Refused):
        return found
    product = found.plan.accelerator
    choice = next((choice for choice in order if choice[0] == product), (product, None))
    return Option(choice=choice, sizing=found)


def option_of(made: EngineSet, owner: Owner, observed: Observed) -> Option | Refused:
    """Return the plan by which existing pods were made, computed anew only where it is not remembered."""
    choice = choice_of(made)
    remembered = _remembered(owner, made)
    if remembered is not None:
        return Option(choice=choice, sizing=remembered)
    order = [choice] if owner.spec.accelerators else []
    found = _ask(owner.spec, observed, order, [pool for pool in observed.pools if pool.product == choice[0]])
    return found if isinstance(found, Refused) else Option(choice=choice, sizing=found)


def as_wished(owner: Owner, observed: Observed) -> Sequence[EngineSet]:
    """Return the revisions that differ from the spec only in what Tertium decides, newest first.

    Without those that could not start and were repaired: their plan has turned out wrong.
    """
    wished = wish(owner.spec)
    return [
        engine
        for engine in observed.engines
        if wishes(engine.document) == wished
        and is_allowed(owner, choice_of(engine))
        and engine.revision not in observed.learned.answered
    ]


def is_allowed(owner: Owner, choice: Choice) -> bool:
    """Whether the spec permits a choice; without `spec.accelerators` it permits any."""
    entries = owner.spec.accelerators
    return not entries or choice in {(entry.product, entry.spot) for entry in entries}


def choice_of(made: EngineSet) -> Choice:
    """Return what existing pods ask for."""
    return (made.accelerator, made.spot)


def _comes_first(gone: Choice, found: Sized | Refused, order: Sequence[Choice]) -> bool:
    """Whether a product without nodes is preferred to what was found on those that are there."""
    if isinstance(found, Refused):
        return True
    products = [product for product, _ in order]
    return gone in order and order.index(gone) < products.index(found.plan.accelerator)


def _without_nodes(owner: Owner, observed: Observed) -> Option | None:
    """Return the last plan where its product has no node left and the spec asks for the same as then."""
    present = {pool.product for pool in observed.pools}
    gone = [engine for engine in as_wished(owner, observed) if engine.accelerator not in present]
    plans = ((engine, _remembered(owner, engine)) for engine in gone)
    return next((Option(choice=choice_of(engine), sizing=plan) for engine, plan in plans if plan), None)


def _remembered(owner: Owner, made: EngineSet) -> Sized | None:
    """Return the plan last written to the status if it is that of `made`."""
    before = owner.identity.status
    if before.plan is None or before.rollout is None or before.rollout.revision != made.revision:
        return None
    said = owner.identity.said(ConditionType.PLANNED)
    fits = said is not None and said.status == "True"
    return Sized(
        plan=before.plan, reason=Reason(said.reason) if said and fits else Reason.FITS, resource=made.resource
    )


def _ask(
    spec: LLMDeploymentSpec, observed: Observed, order: Sequence[Choice], pools: Sequence[GpuPool]
) -> Sized | Refused:
    assert observed.facts is not None
    entries = tuple(item for item in spec.accelerators if (item.product, item.spot) in order)
    spec = spec.model_copy(update={"accelerators": entries})
    asked = repr((spec.capacity, spec.parallelism, spec.precision, entries, spec.engine.args))
    question = _Question(
        facts=observed.facts,
        pools=tuple(pools),
        asked=asked,
        engine_version=observed.engine_version,
        learned=observed.learned.dump(),
        spec=spec,
    )
    return _answer(question)


@lru_cache(maxsize=4096)
def _answer(question: _Question) -> Sized | Refused:
    """Ask the planner; every look at a world that did not change asks the same again."""
    assert question.facts.model is not None
    learned = Learned.parse(question.learned)
    found = size(
        question.facts.model,
        question.pools,
        question.spec,
        engine_version=question.engine_version,
        measured=learned.measured,
        repairs=learned.repairs,
    )
    if isinstance(found, Refused):
        return found
    return Sized(plan=found.status(), reason=Reason(found.verdict.label), resource=found.pool.resource)
