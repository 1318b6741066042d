"""Demand: who says that somebody waits for a deployment, and for how long that counts.

Each gateway pod has an annotation of its own on the deployment's demand Lease: when it last said so, and for
how many seconds that is meant. One pod's leaving takes away its own word and nobody else's.

Pure. A word counts from when the operator saw it change: the clocks of two machines are compared only where
there is no other way, for a word that was there when the operator first looked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from tertium.api.meta import Manifest, format_time, parse_time
from tertium.core import names

CLAIM_SECONDS: Final = 15.0
"""For how long one word counts, where nothing else is said."""
_LONGEST_SECONDS: Final = 3600.0
_CLAIM: Final = re.compile(r"(?P<at>[0-9TZ:.+-]{20,40})/PT(?P<seconds>[0-9]{1,5}(\.[0-9]{1,3})?)S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One gateway pod's word that somebody waits."""

    text: str
    seconds: float
    """For how long it counts."""
    seen: float | None
    """When it was seen to change, by a clock that nobody sets, in seconds; None: there at first sight."""


def claim_key(holder: str) -> str:
    """Return the annotation of one gateway pod."""
    return f"{names.CLAIM_PREFIX}{names.fit(holder)}"


def claim_text(now: datetime, seconds: float) -> str:
    """Return a claim as it is written: a time and a duration (ISO 8601), so that each renewal is a change.

    >>> from datetime import UTC
    >>> claim_text(datetime(2026, 11, 27, 12, tzinfo=UTC), 15)
    '2026-11-27T12:00:00.000000Z/PT15S'
    """
    return f"{format_time(now, micro=True)}/PT{seconds:g}S"


def claims_of(lease: Manifest) -> Mapping[str, str]:
    """Return the claims on a Lease, by annotation."""
    annotations = lease["metadata"].get("annotations") or {}
    return {name: text for name, text in annotations.items() if name.startswith(names.CLAIM_PREFIX)}


def follow(before: Mapping[str, Claim] | None, lease: Manifest, seen: float) -> Mapping[str, Claim]:
    """Return what is known of a Lease's claims after another look at it; `seen`: when that was.

    | known of this Lease | the claim        | result                                |
    | nothing             | any              | there at first sight                  |
    | something           | as it was        | as it was known                       |
    | something           | new, or changed  | seen to change now                    |
    | any                 | is no claim      | left out: nobody's word               |
    """
    claims: dict[str, Claim] = {}
    for name, text in claims_of(lease).items():
        known = (before or {}).get(name)
        if known is not None and known.text == text:
            claims[name] = known
        elif (parsed := _CLAIM.fullmatch(text)) is not None:
            changed = None if before is None else seen
            claims[name] = Claim(text=text, seconds=float(parsed["seconds"]), seen=changed)
    return claims


def old_claims(lease: Manifest, now: datetime) -> Mapping[str, str]:
    """Return the claims of an hour ago and more, if the clocks are right, and those that are none."""
    return {name: text for name, text in claims_of(lease).items() if _age(text, now) > _LONGEST_SECONDS}


def seconds_left(claims: Mapping[str, Claim], *, now: datetime, seen: float) -> float:
    """Return for how long somebody still waits, in seconds; 0: nobody does. `seen`: that clock, now.

    | claim                | counts                                                                   |
    | was seen to change   | its seconds from then, whatever time it names                            |
    | there at first sight | its seconds from the time it names, unless that is so far in the future  |
    """
    return max((_left(claim, now, seen) for claim in claims.values()), default=0.0)


def _left(claim: Claim, now: datetime, seen: float) -> float:
    if claim.seen is not None:
        return max(0.0, claim.seconds - (seen - claim.seen))
    return max(0.0, claim.seconds - abs(_age(claim.text, now)))


def _age(text: str, now: datetime) -> float:
    """Return how long ago a claim was made by its own words; one without a time is endlessly old."""
    try:
        return (now - parse_time(text.partition("/")[0])).total_seconds()
    except ValueError:
        return math.inf
