"""Amounts as the API server spells them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertium.render.quantity import canonical

DECIMAL = {letter: Decimal(10) ** power for letter, power in zip("num kMGTPE", range(-9, 19, 3), strict=True)}
BINARY = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)}
SUFFIXES = {letter.strip(): size for letter, size in (DECIMAL | BINARY).items()}


def value(text: str) -> Decimal:
    suffix = text.lstrip("-0123456789.")
    return Decimal(text.removesuffix(suffix)) * SUFFIXES[suffix]


@pytest.mark.parametrize(
    ("amount", "spelled"),
    [
        (8, "8"),
        ("8", "8"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("1500m", "1500m"),
        ("2000m", "2"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("100000", "100k"),
        ("16Gi", "16Gi"),
        ("2048Mi", "2Gi"),
        ("1.5Gi", "1536Mi"),
        ("1536", "1536"),
        ("1000Ki", "1000Ki"),
        ("0Mi", "0"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("12e2", "1200"),
        ("1E", "1E"),
        ("much", "much"),
        ("1 Gi", "1 Gi"),
    ],
)
def test_canonical_form(amount: int | str, spelled: str) -> None:
    assert canonical(amount) == spelled


@given(number=st.integers(0, 10**6), suffix=st.sampled_from(sorted(SUFFIXES)))
def test_the_value_stays_and_a_second_pass_changes_nothing(number: int, suffix: str) -> None:
    spelled = canonical(f"{number}{suffix}")
    assert value(spelled) == value(f"{number}{suffix}")
    assert canonical(spelled) == spelled
