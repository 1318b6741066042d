"""What vLLM answered, stored so that the gate needs no vLLM: a model a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ANSWERS: Final = Path(__file__).resolve().parents[2] / "tests" / "oracle" / "answers.json"
_STORED: Final = (1, 2, 4, 8)
"""Sizes whose figures are kept; of the others only whether they are legal."""


def load(file: Path = ANSWERS) -> dict[str, Any]:
    """Return the answers by model: `{"refused": why}` or `{"legal": [sizes], "refusals", "shapes"}`."""
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return stored


def store(answers: Mapping[str, Any], file: Path = ANSWERS) -> None:
    """Write the answers."""
    lines = (f"{json.dumps(name)}: {json.dumps(answers[name])}" for name in sorted(answers))
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def digest(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce one answer to what is compared."""
    if "refused" in answer:
        return {"refused": answer["refused"]}
    shapes = answer["shapes"]
    refusals: dict[str, list[int]] = {}
    for size, shape in shapes.items():
        if "refused" in shape:
            refusals.setdefault(shape["refused"], []).append(int(size))
    return {
        "legal": [int(size) for size, shape in shapes.items() if "refused" not in shape],
        "refusals": refusals,
        "shapes": {
            size: shape for size, shape in shapes.items() if int(size) in _STORED and "refused" not in shape
        },
    }
