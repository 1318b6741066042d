"""How long a start will still take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.core.eta import expected_millis, remaining_millis

STARTS = (40_000, 42_000, 41_000, 90_000)
ANY = st.lists(st.integers(min_value=0, max_value=4_000_000), max_size=8)


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        pytest.param((), None, id="nobody knows before the first"),
        pytest.param((7,), 7, id="as long as the only one"),
        pytest.param((7, 9), 9, id="of two the slower"),
        pytest.param(STARTS, 42_000, id="an exception is none of the three"),
        pytest.param((1, 2, 3, 4, 5, 6, 7, 8), 6, id="six of eight"),
    ],
)
def test_what_three_of_four_starts_did_not_exceed(starts: tuple[int, ...], expected: int | None) -> None:
    assert expected_millis(starts) == expected


@pytest.mark.parametrize(
    ("starts", "elapsed", "expected"),
    [
        pytest.param((), 5_000, None, id="nobody knows before the first"),
        pytest.param(STARTS, 0, 42_000, id="all of it at the beginning"),
        pytest.param(STARTS, 30_000, 12_000, id="less and less"),
        pytest.param(STARTS, 50_000, 40_000, id="once it is late, the late ones tell"),
        pytest.param(STARTS, 95_000, None, id="longer than ever before"),
    ],
)
def test_how_long_it_still_takes(starts: tuple[int, ...], elapsed: int, expected: int | None) -> None:
    assert remaining_millis(starts, elapsed) == expected


@settings(deadline=None)
@given(ANY, st.integers(min_value=0, max_value=4_000_000))
def test_it_is_never_said_to_be_over_while_it_is_not(starts: list[int], elapsed: int) -> None:
    remaining = remaining_millis(starts, elapsed)
    assert remaining is None or 0 < remaining <= max(starts)
