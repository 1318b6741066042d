"""The models the oracle is asked about: each config reduced to what decides shapes, in one small file.

A config's repetitions are folded: a list of layer kinds becomes its cycle, a list of module names its pattern
with the numbers it runs through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

Json: TypeAlias = Any
MODELS: Final = Path(__file__).resolve().parents[2] / "tests" / "oracle" / "models.json"

# Fields of generation, training and tokenizing, which no shape depends on.
_IDLE: Final = re.compile(
    r".*_token_ids?|.*_token_index|.*dropout.*|.*_pdrop|.*loss.*|_.*|auto_map|initializer_\w+|id2label|label2id|"
    r"transformers_version|tokenizer_class|use_cache|pretraining_tp|task_specific_params|(?:max|min)_length|"
    r"num_beams|num_beam_groups|num_return_sequences|top_k|top_p|typical_p|temperature|do_sample|bad_words_ids|"
    r".*_penalty|.*ngram_size|suppress_tokens|begin_suppress_tokens|early_stopping|output_(?:scores|attentions|"
    r"hidden_states)|problem_type|prefix|pruned_heads|return_dict.*|remove_invalid_values|torchscript|"
    r"tf_legacy_loss|use_bfloat16|finetuning_task|is_decoder|add_cross_attention|chunk_size_feed_forward|"
    r"cross_attention_hidden_size|gradient_checkpointing|image_grid_pinpoints"
)
_LARGEST_QUANTIZATION: Final = 6000
_NUMBER: Final = re.compile(r"(?<=\.)\d+(?=\.|$)")
_RANGES: Final = re.compile(r"\{([\d,-]+)\}")


def load(file: Path = MODELS) -> dict[str, Json]:
    """Return the configs by model."""
    stored = json.loads(file.read_text(encoding="utf-8"))
    return {name: expand(config) for name, config in stored.items()}


def store(configs: Mapping[str, Json], file: Path = MODELS) -> None:
    """Write the configs, reduced, a model a line."""
    lines = (f"{json.dumps(name)}: {json.dumps(compact(configs[name]))}" for name in sorted(configs))
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def compact(value: Json) -> Json:
    """Drop what decides no shape and fold what repeats."""
    if isinstance(value, dict):
        kept = {
            key: compact(item) for key, item in value.items() if item is not None and not _IDLE.fullmatch(key)
        }
        scheme = kept.get("quantization_config")
        if scheme is not None and len(json.dumps(scheme)) > _LARGEST_QUANTIZATION:
            # A scheme that names thousands of modules: the model is asked about without it.
            del kept["quantization_config"]
        return kept
    if isinstance(value, list):
        items = [compact(item) for item in value]
        if items and all(isinstance(item, str) and "{" not in item for item in items):
            folded = _fold(items)
            if len(folded) < len(items):
                return {"numbered": folded}
        period = _period(items)
        return {"cycle": items[:period], "length": len(items)} if period else items
    return value


def expand(value: Json) -> Json:
    """Undo the folding of `compact`."""
    if isinstance(value, dict):
        if value.keys() == {"numbered"}:
            return [name for pattern in value["numbered"] for name in _unfold(pattern)]
        if value.keys() == {"cycle", "length"}:
            cycle = [expand(item) for item in value["cycle"]]
            return [cycle[index % len(cycle)] for index in range(value["length"])]
        return {key: expand(item) for key, item in value.items()}
    return [expand(item) for item in value] if isinstance(value, list) else value


def _period(items: Sequence[Json]) -> int:
    """The length of the shortest cycle that makes the list, or 0 when none saves half of it."""
    for period in range(1, len(items) // 2 + 1):
        if all(item == items[index % period] for index, item in enumerate(items)):
            return period
    return 0


def _fold(names: Iterable[str]) -> list[str]:
    numbers: dict[tuple[str, str], list[int]] = {}
    plain = []
    for name in names:
        match = _NUMBER.search(name)
        if match is None:
            plain.append(name)
        else:
            numbers.setdefault((name[: match.start()], name[match.end() :]), []).append(int(match[0]))
    return plain + [f"{start}{{{_ranges(found)}}}{end}" for (start, end), found in numbers.items()]


def _ranges(numbers: Iterable[int]) -> str:
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _unfold(pattern: str) -> Iterable[str]:
    match = _RANGES.search(pattern)
    if match is None:
        yield pattern
        return
    for part in match[1].split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            yield f"{pattern[: match.start()]}{number}{pattern[match.end() :]}"
