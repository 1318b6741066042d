"""What the planner must know of a model: its geometry, its caches, its weights and how they are stored.

Facts come from an inspection (config.json and tensor headers), or from a config with the bytes of the
weights, or from a config alone; each step down is an estimate where the one above is exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal
from tertium.core.planner.caches import Attention, Latent, Recurrent
from tertium.core.planner.config import MOST_LAYERS, Config, unsizable
from tertium.core.planner.families import DEFAULTS, ENCODERS, VERIFIED
from tertium.core.planner.feedforward import FeedForward, feedforward_of
from tertium.core.planner.geometry import Geometry, Layer, geometry
from tertium.core.planner.layers import layers_of
from tertium.core.planner.loading import ENCODER_PARTS, Model, Stored, absorbed_bytes, loaded
from tertium.core.planner.positions import max_positions, rotary_bytes
from tertium.core.planner.quantization import Quantization
from tertium.core.planner.tensors import TensorGroup, decode
from tertium.core.planner.weights import Layout, Part, stage_bytes

_MOST_WEIGHT_BYTES: Final = 1 << 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """Everything of a model that a plan depends on."""

    architecture: str
    shape: Geometry
    vocabulary: int
    max_positions: int | None
    """Longest sequence the engine accepts for this model, in tokens; None: the config does not limit it."""
    caches: tuple[Layer, ...]
    """What every layer keeps of a sequence."""
    feedforward: FeedForward
    quantization: Quantization
    parts: tuple[Part, ...]
    layout: Layout
    resident_bytes: int
    """Tables of rotary positions: on every rank, beside the weights."""
    absorbed_bytes: int
    """Projections that latent attention keeps a second time, split over the ranks."""
    latent_bytes: int
    """One latent vector in 16 bits; 0 where attention is ordinary."""
    has_encoder: bool
    is_sparse: bool
    generates: bool
    """Whether it answers with tokens, and so samples and keeps a cache; encoders do not."""
    weight_bytes: int
    """Bytes of the weights that are loaded, over all ranks, without what kernels pad."""
    unverified: str
    """Why the arithmetic is a bound instead of an account; empty: it is one."""
    revision: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, document: Mapping[str, Any] | str) -> ModelFacts:
        """Read what an inspection stored: `{"config": {...}, "weightBytes": N, "tensors": [...], ...}`.

        Raises Terminal, naming the field, when something is missing or out of bounds.
        """
        stored = _object(document)
        config = stored.get("config")
        if not isinstance(config, Mapping):
            raise unsizable(f"it is a {type(config).__name__}, expected an object")
        tensors = stored.get("tensors")
        return cls.of(
            config,
            weight_bytes=stored.get("weightBytes"),
            tensors=() if tensors is None else decode(tensors),
            revision=str(stored.get("revision") or ""),
            digest=str(stored.get("digest") or ""),
        )

    @classmethod
    def of(
        cls,
        config: Mapping[str, Any],
        *,
        weight_bytes: int | None = None,
        tensors: Sequence[TensorGroup] = (),
        quantization: str | None = None,
        revision: str = "",
        digest: str = "",
    ) -> ModelFacts:
        """Combine a config with what is known of the weights.

        `tensors` are exact. Without them `weight_bytes` scales what the config announces; without both the
        config decides alone. `quantization` names the format of the weights where the config does not; if
        the weights turn out to be of 16 bits, it is applied when they are loaded.
        """
        _check_weight_bytes(weight_bytes)
        whole = Config(config)
        text = whole.text_part()
        kind = text.text("model_type")
        if text is not whole:
            text = text.with_defaults(DEFAULTS.get(kind, {}))
        if text.flag("is_encoder_decoder"):
            raise unsizable("is_encoder_decoder is true; only decoder and encoder models are supported")
        shape = geometry(text)
        if shape.layers > MOST_LAYERS:
            raise unsizable(f"num_hidden_layers is {shape.layers}, expected at most {MOST_LAYERS}")
        caches, doubt = layers_of(text, shape)
        model = Model(
            whole=whole,
            text=text,
            architecture=next(iter(whole.texts("architectures")), ""),
            shape=shape,
            feedforward=feedforward_of(text, shape.layers, shape.hidden),
            layers=caches,
            vocabulary=text.need("vocab_size", "padded_vocab_size"),
        )
        weights = loaded(model, Stored(tensors=tensors, weight_bytes=weight_bytes, quantization=quantization))
        latents = {c for layer in caches for c in layer if isinstance(c, Latent) and c.width and c.quantized}
        attends_both_ways = "is_causal" in text and not text.flag("is_causal")
        generates = kind not in ENCODERS and not attends_both_ways
        return cls(
            architecture=model.architecture,
            shape=shape,
            vocabulary=model.vocabulary,
            max_positions=max_positions(text),
            caches=caches if generates else ((),) * shape.layers,
            feedforward=model.feedforward,
            quantization=weights.quantization,
            parts=weights.parts,
            layout=weights.layout,
            resident_bytes=rotary_bytes(text, shape.head_width),
            absorbed_bytes=absorbed_bytes(model),
            latent_bytes=max((latent.token_bytes(1, 2) for latent in latents), default=0),
            has_encoder=any(name in whole for name in ENCODER_PARTS),
            is_sparse=any(latent.fixed for latent in latents),
            generates=generates,
            weight_bytes=sum(stage_bytes(weights.parts, replace(weights.layout, expert_width=0), 1, 1)),
            unverified=doubt or _doubt(model.architecture),
            revision=revision,
            digest=digest,
        )

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """The kinds of ordinary attention it has."""
        found = dict.fromkeys(c for layer in self.caches for c in layer if isinstance(c, Attention))
        return tuple(found)

    @property
    def recurrents(self) -> tuple[Recurrent, ...]:
        """The kinds of recurrent state it has."""
        found = dict.fromkeys(c for layer in self.caches for c in layer if isinstance(c, Recurrent))
        return tuple(found)


def _object(document: Mapping[str, Any] | str) -> Mapping[str, Any]:
    try:
        found = json.loads(document) if isinstance(document, str) else document
    except ValueError as error:
        raise Terminal(Reason.INSPECTION_FAILED, f"the stored facts are not JSON: {error}") from error
    if not isinstance(found, Mapping):
        kind = type(found).__name__
        raise Terminal(Reason.INSPECTION_FAILED, f"the stored facts are a {kind}, expected an object")
    return found


def _check_weight_bytes(weight_bytes: object) -> None:
    if weight_bytes is None:
        return
    whole = isinstance(weight_bytes, int) and not isinstance(weight_bytes, bool)
    if not whole or not 0 < weight_bytes <= _MOST_WEIGHT_BYTES:  # type: ignore[operator]
        raise Terminal(
            Reason.INSPECTION_FAILED,
            f"the weights take {weight_bytes!r} bytes, expected 1 to {_MOST_WEIGHT_BYTES}",
        )


def _doubt(architecture: str) -> str:
    if architecture in VERIFIED:
        return ""
    return f"{architecture or 'an unnamed architecture'} was not compared with the engine's own arithmetic"
