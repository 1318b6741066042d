"""Typed reading of a config.json: spellings, types and bounds, with an error that names the field.

Configs are other people's files: a value of the wrong type or outside its bounds is refused here, so that
the arithmetic behind meets whole numbers only. Knows no model family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal

MOST: Final = 1 << 32
"""No dimension of a model comes near it; a larger number is a mistake."""
MOST_LAYERS: Final = 4096

_TEXT_PARTS: Final = ("text_config", "llm_config", "language_config", "thinker_config")
_INHERITED: Final = (
    "architectures",
    "model_type",
    "torch_dtype",
    "dtype",
    "tie_word_embeddings",
    "quantization_config",
    "compression_config",
    "vision_config",
)


class Config:
    """One object of a config.json."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def get(self, *names: str) -> int | None:
        """Return the first of these spellings that is set. Raises Terminal unless a whole number >= 0."""
        for name in names:
            value = self._values.get(name)
            if value is not None:
                return self._number(name, value)
        return None

    def size(self, *names: str, default: int) -> int:
        """Return a dimension; where it is missing or zero, `default`."""
        return self.get(*names) or default

    def need(self, *names: str) -> int:
        """Return a dimension. Raises Terminal when it is missing or zero."""
        value = self.get(*names)
        if value is None:
            raise unsizable(f"{' or '.join(names)} is missing; the planner needs it as a whole number")
        if value == 0:
            set_name = next(name for name in names if name in self)
            raise unsizable(f"{set_name} is 0, expected at least 1")
        return value

    def names(self) -> tuple[str, ...]:
        """Return the names that are there."""
        return tuple(self._values)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return whether a switch is on."""
        value = self._values.get(name)
        return value if isinstance(value, bool) else default

    def text(self, *names: str) -> str:
        """Return the first of these that is a text, or an empty one."""
        return next((v for name in names if isinstance(v := self._values.get(name), str)), "")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts, or nothing."""
        items = _items(self._values.get(name))
        return tuple(items) if all(isinstance(item, str) for item in items) else ()

    def numbers(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers, or nothing. Raises Terminal when an item is none."""
        items = _items(self._values.get(name))
        return tuple(self._number(f"{name}[{index}]", item) for index, item in enumerate(items))

    def number(self, name: str) -> float | None:
        """Return a factor, which need not be whole."""
        value = self._values.get(name)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def part(self, *names: str) -> Config:
        """Return the first of these nested objects; an empty one where there is none."""
        found = (v for name in names if isinstance(v := self._values.get(name), Mapping))
        return Config(next(found, {}))

    def parts(self, name: str) -> tuple[Config, ...]:
        """Return a list of objects, or nothing."""
        items = _items(self._values.get(name))
        return tuple(Config(item) for item in items if isinstance(item, Mapping))

    def with_defaults(self, defaults: Mapping[str, Any]) -> Config:
        """Return the same with `defaults` where it says nothing."""
        said = {name: value for name, value in self._values.items() if value is not None}
        return Config({**defaults, **said})

    def text_part(self) -> Config:
        """Return the language model's part; it inherits what the whole model says of type and dtype."""
        for name in _TEXT_PARTS:
            nested = self._values.get(name)
            if isinstance(nested, Mapping):
                inherited = {key: self._values[key] for key in _INHERITED if key in self._values}
                inner = {key: value for key, value in nested.items() if value is not None}
                return Config({**inherited, **inner}).text_part()
        return self

    def _number(self, name: str, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise unsizable(f"{name} is {_shown(value)}, expected a whole number")
        if not 0 <= value <= MOST:
            raise unsizable(f"{name} is {_shown(value)}, expected 0 to {MOST}")
        return value


def unsizable(what: str) -> Terminal:
    """What is wrong with a config.json, as the error that a condition shows."""
    return Terminal(Reason.INSPECTION_FAILED, f"cannot size the model from its config.json: {what}")


def _items(value: object) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, Mapping | list) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}…"
