"""Amounts of resources as the API server spells them: what is applied compares equal with what is kept."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)?|[eE](?P<exponent>[+-]?\d+))"
)
_DECIMAL: Final = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def canonical(amount: int | str) -> str:
    """Return a quantity in Kubernetes' canonical form; what is none is left for the API server to refuse.

    No fraction is left, and the suffix is as large as it can be: `0.5` is `500m`, `2048Mi` is `2Gi`.
    """
    found = _FORM.fullmatch(str(amount).strip())
    if found is None:
        return str(amount)
    number, suffix = Decimal(found["number"]), found["suffix"] or ""
    if found["exponent"] is not None:
        return _scaled(number.scaleb(int(found["exponent"])), "e")
    if suffix not in _BINARY[1:]:
        exponent = next(power for power, letter in _DECIMAL.items() if letter == suffix)
        return _scaled(number.scaleb(exponent), "")
    value = number * 1024 ** _BINARY.index(suffix)
    # Small and broken amounts are spelled in the decimal way.
    if abs(value) < 1024 or value != value.to_integral_value():
        return _scaled(value, "")
    power = 0
    while value % 1024 == 0 and power < len(_BINARY) - 1:
        value, power = value / 1024, power + 1
    return f"{int(value)}{_BINARY[power]}"


def _scaled(value: Decimal, style: str) -> str:
    """Write a value with a power of ten that divides by three, as a letter or, in style `e`, as a number."""
    if value == 0:
        return "0"
    power = -9
    while power < 18 and value.scaleb(-(power + 3)) == value.scaleb(-(power + 3)).to_integral_value():
        power += 3
    number = int(value.scaleb(-power))
    if style == "e":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_DECIMAL[power]}"
