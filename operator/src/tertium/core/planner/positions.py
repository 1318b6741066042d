"""How long a sequence the engine accepts for a model, and the tables of rotary positions it keeps for that.

Source: vLLM 0.32, `_get_and_verify_max_len` in `config/model.py`, `layers/rotary_embedding/base.py`.
"""

from __future__ import annotations

from typing import Final

from tertium.core.planner.config import Config

_POSITIONS: Final = (
    "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_target_positions",
    "max_sequence_length", "max_seq_length", "seq_len",
)  # fmt: skip
_SCALED_ALREADY: Final = frozenset(
    {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope", "default"}
)


def max_positions(config: Config) -> int | None:
    """Return the longest sequence in tokens, or None where the config does not limit it."""
    stated = [found for name in _POSITIONS if (found := config.get(name))]
    longest = config.get("model_max_length") or 0
    if not stated:
        return longest or None
    positions = min(stated)
    if "gemma3" not in config.text("model_type"):
        positions = _scaled(config, positions)
    return max(positions, longest)


def rotary_bytes(config: Config, head_width: int) -> int:
    """Return the bytes of the sine and cosine tables, 16 bits each, for every length of rotation.

    Models that alternate sliding and full attention with their own rotation each keep one table for each.
    """
    positions = max_positions(config)
    rope = config.part("rope_parameters", "rope_scaling")
    has_rope = any(name in config for name in ("rope_theta", "rope_parameters", "rope_scaling", "rotary_dim"))
    if positions is None or not has_rope:
        return 0
    width = config.size("qk_rope_head_dim", "rotary_dim", default=head_width)
    if "full_attention" in rope or "rope_local_base_freq" in config:
        width += config.size("global_head_dim", default=width)
    return 2 * positions * width


def _scaled(config: Config, positions: int) -> int:
    rope = config.part("rope_parameters", "rope_scaling")
    factor = rope.number("factor")
    if factor is None or not 0 < factor < 1 << 20:
        return positions
    kind = rope.text("rope_type", "type")
    return positions if kind in _SCALED_ALREADY else int(positions * factor)
