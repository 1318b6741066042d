"""From weights as they are stored to weights as the engine loads them.

Tensors that were read are exact. Without them the config announces an inventory, which the known bytes scale;
and it is worked out whether the bytes hold layers that are skipped, or are quantized only when loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tertium.core.planner.caches import Latent
from tertium.core.planner.config import Config
from tertium.core.planner.families import TIED_BY_DEFAULT, WHOLE_ENCODERS
from tertium.core.planner.feedforward import FeedForward
from tertium.core.planner.geometry import Geometry, Layer
from tertium.core.planner.inventory import Ends, Inventory, inventory_of
from tertium.core.planner.quantization import NONE, Quantization, quantization_named, quantization_of
from tertium.core.planner.tensors import TensorGroup
from tertium.core.planner.weights import Layout, Part, is_head, padded_millionths, parts_of

ENCODER_PARTS: Final = ("vision_config", "visual", "vision_tower_config", "img_processor", "audio_config")
_HEADLESS: Final = ("BertModel", "ForSequenceClassification", "ForRewardModel", "ForTokenClassification")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What is known of a model's weights; all of it may be missing."""

    tensors: Sequence[TensorGroup]
    weight_bytes: int | None
    quantization: str | None
    """The format's name, where the config does not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The weights as the engine holds them."""

    parts: tuple[Part, ...]
    layout: Layout
    quantization: Quantization


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A config with what was read from it."""

    whole: Config
    text: Config
    architecture: str
    shape: Geometry
    feedforward: FeedForward
    layers: tuple[Layer, ...]
    vocabulary: int


def loaded(model: Model, stored: Stored) -> Loaded:
    """Return the weights that are loaded."""
    said = quantization_of(model.whole if "quantization_config" in model.whole else model.text)
    named = bool(stored.quantization) and not said.scheme
    wanted = quantization_named(stored.quantization or "") if named else said
    encoder = model.whole.part(*ENCODER_PARTS)
    tied = _tied(model, stored.tensors)
    layout = _layout(model, encoder, wanted, tied=tied)
    if stored.tensors:
        return Loaded(parts=parts_of(stored.tensors, layout), layout=layout, quantization=said)
    ends = Ends(
        vocabulary=model.vocabulary,
        tied=tied,
        headless=model.architecture.endswith(_HEADLESS),
        encoder=encoder,
    )
    inventory = inventory_of(model.text, model.shape, model.feedforward, model.layers, ends)
    size_bytes, found = inventory.size_bytes(wanted), wanted
    if stored.weight_bytes is not None:
        size_bytes, found = _scaled(inventory, stored.weight_bytes, wanted, named=named, layout=layout)
    return Loaded(parts=inventory.parts(found, size_bytes), layout=layout, quantization=found)


def absorbed_bytes(model: Model) -> int:
    """Latent attention multiplies the projection of keys and values into the others: a 16-bit copy of it."""
    layers = sum(1 for layer in model.layers if any(isinstance(c, Latent) and c.width for c in layer))
    rank = model.text.get("kv_lora_rank")
    if not rank:
        return 0
    nope = model.text.size("qk_nope_head_dim", default=0)
    widths = nope + model.text.size("v_head_dim", default=max(1, nope))
    return 2 * layers * rank * model.shape.heads * widths


def _tied(model: Model, tensors: Sequence[TensorGroup]) -> bool:
    """Whether the output head is the embedding: as stored, as said, or by the default of the type."""
    if tensors and not any(is_head(group) for group in tensors):
        return True
    by_type = model.text.text("model_type").startswith(TIED_BY_DEFAULT)
    return model.text.flag("tie_word_embeddings", default=by_type)


def _layout(model: Model, encoder: Config, wanted: Quantization, *, tied: bool) -> Layout:
    encoder_heads = encoder.size("num_heads", "num_attention_heads", "vt_num_attention_heads", default=1)
    dtype = model.text.text("dtype", "torch_dtype").removeprefix("torch.")
    return Layout(
        layers=model.shape.layers,
        heads=model.shape.heads,
        kv_heads=model.shape.kv_heads,
        tied=tied,
        halved=dtype == "float32",
        encoder_heads=1 if model.architecture.startswith(WHOLE_ENCODERS) else encoder_heads,
        hidden=model.feedforward.expert_input,
        expert_width=model.feedforward.expert if "mxfp4" in (wanted.scheme, wanted.experts) else 0,
    )


def _scaled(
    inventory: Inventory, weight_bytes: int, wanted: Quantization, *, named: bool, layout: Layout
) -> tuple[int, Quantization]:
    """Return the bytes that are loaded and how they are stored then."""
    plain = inventory.size_bytes(NONE)
    if layout.halved and not (wanted.scheme and not named) and weight_bytes > plain * 3 // 2:
        weight_bytes //= 2
    at_load = named and abs(weight_bytes - plain) < abs(weight_bytes - inventory.size_bytes(wanted))
    found = NONE if at_load else wanted
    weight_bytes = _unpadded(inventory, weight_bytes, found, layout)
    expected, extra = inventory.size_bytes(found), inventory.extra_bytes(found)
    if abs(weight_bytes - expected - extra) < abs(weight_bytes - expected):
        weight_bytes = weight_bytes * expected // (expected + extra)
    if at_load:
        return weight_bytes * inventory.size_bytes(wanted) // expected, wanted
    return weight_bytes, found


def _unpadded(inventory: Inventory, weight_bytes: int, found: Quantization, layout: Layout) -> int:
    """Return the bytes without padding, where they are rather those that an engine loaded on one GPU."""
    if not layout.expert_width:
        return weight_bytes
    stored, experts = inventory.size_bytes(found), inventory.expert_bytes(found)
    growths = (
        padded_millionths(layout.hidden, layout.expert_width, hopper=hopper) - 1_000_000
        for hopper in (True, False)
    )
    sizes = (stored, *(stored + experts * growth // 1_000_000 for growth in growths))
    nearest = min(sizes, key=lambda size: abs(weight_bytes - size))
    return weight_bytes * stored // nearest
