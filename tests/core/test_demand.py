"""Who waits, and for how long that counts: whatever clock a gateway pod or the operator has."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.core.demand import Claim, claim_key, claim_text, claims_of, follow, old_claims, seconds_left
from tests.factories import NOW, seconds


def a_lease(**claims: str) -> dict[str, Any]:
    """A demand Lease with these pods' claims, and an annotation that is none."""
    annotations = {claim_key(pod.replace("_", "-")): text for pod, text in claims.items()}
    return {"metadata": {"name": "m-demand", "annotations": {"tertium.dev/applied": "x", **annotations}}}


def stated(offset: float, lasting: float = 15) -> str:
    return claim_text(NOW + seconds(offset), lasting)


def left(*leases: dict[str, Any], later: float = 0.0, known: bool = True) -> float:
    """Follow a Lease, one look a second, and return what is left `later` seconds after the last look."""
    claims = follow(None, a_lease(), 0) if known else None
    for number, lease in enumerate(leases):
        claims = follow(claims, lease, 100.0 + number)
    return seconds_left(claims or {}, now=NOW, seen=100.0 + len(leases) - 1 + later)


@pytest.mark.parametrize(
    ("leases", "later", "expected"),
    [
        pytest.param([a_lease()], 0, 0, id="no claim is no demand"),
        pytest.param([a_lease(a=stated(0))], 4, 11, id="a claim counts from when it was seen"),
        pytest.param([a_lease(a=stated(-3600))], 4, 11, id="also of a pod whose clock is an hour late"),
        pytest.param([a_lease(a=stated(3600))], 4, 11, id="or an hour early"),
        pytest.param([a_lease(a=stated(0))], 15, 0, id="until its seconds are over"),
        pytest.param([a_lease(a=stated(0, 120))], 15, 105, id="which it names itself"),
        pytest.param([a_lease(a=stated(0))] * 9, 0, 7, id="seen again it is not new"),
        pytest.param(
            [a_lease(a=stated(0)), *[a_lease(a=stated(5))] * 3],
            0,
            13,
            id="a renewal is a change, however late",
        ),
        pytest.param(
            [a_lease(a=stated(0), b=stated(1)), a_lease(b=stated(1))],
            0,
            14,
            id="one pod's leaving leaves the other's demand",
        ),
        pytest.param([a_lease(a=stated(0)), a_lease()], 0, 0, id="the last one's leaving ends it"),
        pytest.param([a_lease(a="gibberish", b="9/PT5S")], 0, 0, id="what is no claim is nobody's word"),
    ],
)
def test_a_claim_counts_from_when_it_was_seen_to_change(
    leases: list[dict[str, Any]], later: float, expected: float
) -> None:
    assert left(*leases, later=later) == expected


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        pytest.param(stated(-4), 11, id="counts from the time it names"),
        pytest.param(stated(-15), 0, id="unless that is long ago: its pod may have been killed"),
        pytest.param(stated(4), 11, id="a clock that is a little early is believed"),
        pytest.param(stated(3600), 0, id="one that is hours early is not"),
        pytest.param("0000-99-99T00:00:00Z/PT15S", 0, id="a time that is none is nobody's"),
    ],
)
def test_a_claim_that_was_there_at_first_sight(claim: str, expected: float) -> None:
    assert left(a_lease(a=claim), known=False) == expected


def test_a_claim_there_at_first_sight_counts_from_its_next_change_whatever_the_clocks_say() -> None:
    assert left(a_lease(a=stated(-3600)), a_lease(a=stated(-3595)), known=False) == 15


def test_a_pod_s_annotation_is_a_name_kubernetes_takes() -> None:
    prefix, _, name = claim_key("gateway-" + "x" * 300).partition("/")
    assert (prefix, len(name)) == ("demand.tertium.dev", 63)


def test_claims_are_told_from_other_annotations() -> None:
    assert claims_of(a_lease(a="x")) == {claim_key("a"): "x"}
    assert claims_of({"metadata": {"name": "m"}}) == {}


def test_claims_of_pods_that_were_killed_are_told_by_their_age() -> None:
    lease = a_lease(young=stated(-3599), old=stated(-3601), broken="x")
    assert old_claims(lease, NOW).keys() == {claim_key("old"), claim_key("broken")}


def test_what_is_known_of_a_claim() -> None:
    text = stated(0)
    assert follow({}, a_lease(a=text), 7.0) == {claim_key("a"): Claim(text=text, seconds=15, seen=7.0)}
    assert follow(None, a_lease(a=text), 7.0) == {claim_key("a"): Claim(text=text, seconds=15, seen=None)}
