"""Slots of concurrency limiters: they stay with their key. What Envoy makes of them is in tests/gateway."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tertium.api.meta import ObjectKey
from tertium.core.api_keys import ApiKey
from tertium.render.envoy.keys import Slot, Slots, assign_slots, build_limiters, limiter_sizes

LIMITS = st.dictionaries(st.integers(0, 40), st.none() | st.integers(1, 4))


def keys_of(limits: dict[int, int | None]) -> list[ApiKey]:
    return [
        ApiKey(
            name=ObjectKey("team", f"key{number}"),
            created=datetime(2026, 1, 1, tzinfo=UTC),
            digest=f"{number:064x}",
            allow=(),
            most_concurrent=most,
        )
        for number, most in limits.items()
    ]


@given(LIMITS, LIMITS, st.integers(1, 3))
def test_a_slot_is_one_key_s_and_stays_while_its_limit_does(
    first: dict[int, int | None], then: dict[int, int | None], gateways: int
) -> None:
    before = assign_slots(keys_of(first), gateways, {})
    slots = assign_slots(keys_of(then), gateways, before)
    limited = {key.name: -(-key.most_concurrent // gateways) for key in keys_of(then) if key.most_concurrent}
    assert {name: slot.most for name, slot in slots.items()} == limited
    assert len(set(slots.values())) == len(slots)
    assert all(slots[name] == slot for name, slot in before.items() if limited.get(name) == slot.most)


@given(st.lists(LIMITS, max_size=4))
def test_every_slot_has_a_limiter_and_none_is_ever_taken_away(history: list[dict[int, int | None]]) -> None:
    slots: Slots = {}
    sizes = limiter_sizes({}, {})
    for limits in history:
        slots = assign_slots(keys_of(limits), 1, slots)
        grown = limiter_sizes(slots, sizes)
        assert all(grown[most] >= number for most, number in sizes.items())
        assert all(slot.number < grown[slot.most] for slot in slots.values())
        sizes = grown


def test_seventeen_keys_of_one_limit_double_its_slots() -> None:
    slots = assign_slots(keys_of(dict.fromkeys(range(17), 2)), 1, {})
    assert limiter_sizes(slots, {})[2] == 32


def test_the_usual_limits_need_no_new_limiter() -> None:
    none = limiter_sizes({}, {})
    some = limiter_sizes(assign_slots(keys_of({1: 1, 2: 16, 3: 16}), 1, {}), none)
    assert build_limiters(some) == build_limiters(none)
    assert str(Slot(16, 15)) in str(build_limiters(none))
