"""The weights that a config announces, for a model whose tensors nobody has read.

An estimate by the dimensions of its layers, scaled to the bytes that are known, so that what is copied on
every rank and what an end stage carries are in proportion. Headers, where they can be read, replace it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tertium.core.planner.caches import Attention, Latent, Recurrent
from tertium.core.planner.config import Config
from tertium.core.planner.feedforward import FeedForward
from tertium.core.planner.geometry import Geometry, Layer
from tertium.core.planner.quantization import Quantization
from tertium.core.planner.tensors import ranges_of
from tertium.core.planner.weights import Part, Split, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Weights a config announces: elements instead of bytes. `linear` ones are quantized where others are."""

    split: Split
    elements: int
    layer: int | None = None
    stage: Stage = Stage.FIRST
    linear: bool = True
    attention: bool = False

    def size_bytes(self, quantization: Quantization) -> int:
        """Bytes as the quantization stores them."""
        if not self.linear or (self.attention and not quantization.attention):
            return 2 * self.elements
        if self.split is Split.EXPERT:
            return self.elements * quantization.expert_bits_hundredths // 800
        return self.elements * quantization.bits_hundredths // 800


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All of it, and how large the layers for predicting further tokens are, which may be stored beside."""

    weights: tuple[Announced, ...]
    extra_layers: int

    def size_bytes(self, quantization: Quantization) -> int:
        """Bytes of what the engine loads."""
        return sum(weight.size_bytes(quantization) for weight in self.weights)

    def expert_bytes(self, quantization: Quantization) -> int:
        """Bytes of the routed experts."""
        return sum(w.size_bytes(quantization) for w in self.weights if w.split is Split.EXPERT)

    def extra_bytes(self, quantization: Quantization) -> int:
        """Bytes of the layers that are stored and not loaded; they look like the model's last one."""
        last = max((weight.layer for weight in self.weights if weight.layer is not None), default=0)
        return self.extra_layers * sum(
            weight.size_bytes(quantization) for weight in self.weights if weight.layer == last
        )

    def parts(self, quantization: Quantization, loaded: int) -> tuple[Part, ...]:
        """Return the parts scaled to `loaded` bytes: what is quantized takes the difference."""
        fixed = sum(w.size_bytes(quantization) for w in self.weights if not w.linear)
        scaled = max(1, self.size_bytes(quantization) - fixed)
        room = loaded - fixed
        if room * 4 < scaled:  # The config announces far more than there is: nothing can be told apart.
            fixed, scaled, room = 0, scaled + fixed, loaded
        layers: defaultdict[tuple[Split, Stage, int], list[int]] = defaultdict(list)
        ends: list[Part] = []
        for weight in self.weights:
            size_bytes = weight.size_bytes(quantization)
            if weight.linear or not fixed:
                size_bytes = size_bytes * room // scaled
            if weight.layer is None:
                ends.append(Part(split=weight.split, size_bytes=size_bytes, stage=weight.stage))
            else:
                layers[weight.split, weight.stage, size_bytes].append(weight.layer)
        return (
            *ends,
            *(
                Part(split=split, size_bytes=size_bytes, stage=stage, layers=ranges_of(numbers))
                for (split, stage, size_bytes), numbers in layers.items()
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What a model has before and after its layers."""

    vocabulary: int
    tied: bool
    """Whether the output head is the embedding."""
    headless: bool
    """Whether there is no output head: embedders and classifiers."""
    encoder: Config
    """The vision or audio part; empty where there is none."""


def inventory_of(
    config: Config, shape: Geometry, feedforward: FeedForward, layers: tuple[Layer, ...], ends: Ends
) -> Inventory:
    """Return the weights of a model with these dimensions."""
    hidden, vocabulary, tied = shape.hidden, ends.vocabulary, ends.tied
    weights = [
        Announced(
            split=Split.SHARDED,
            elements=vocabulary * hidden,
            stage=Stage.ENDS if tied else Stage.FIRST,
            linear=False,
        )
    ]
    if not tied and not ends.headless:
        weights.append(
            Announced(split=Split.SHARDED, elements=vocabulary * hidden, stage=Stage.LAST, linear=False)
        )
    for number, layer in enumerate(layers):
        weights.extend(_attention(config, shape, layer, number))
        weights.extend(_feedforward(feedforward, hidden, number))
        weights.append(Announced(split=Split.REPLICATED, elements=2 * hidden, layer=number, linear=False))
    if encoder := _encoder_elements(ends.encoder):
        weights.append(Announced(split=Split.ENCODER, elements=encoder, linear=False))
    extra = config.get("num_nextn_predict_layers", "mtp_num_hidden_layers", "mtp_transformer_layers") or 0
    return Inventory(weights=tuple(weights), extra_layers=extra)


def _attention(config: Config, shape: Geometry, layer: Layer, number: int) -> Iterator[Announced]:
    """Projections of a layer. A second cache of the layer may be an index; it adds a replicated key."""
    hidden, heads = shape.hidden, shape.heads
    for cache in layer:
        match cache:
            case Attention() | Latent(window=0) if config.get("kv_lora_rank"):
                yield from _latent(config, hidden, heads, number)
            case Attention():
                gated = 2 if config.flag("attn_output_gate") or "linear_num_value_heads" in config else 1
                query = hidden * heads * cache.key_width * gated + heads * cache.value_width * hidden
                keys = hidden * cache.heads * (cache.key_width + cache.value_width)
                yield Announced(split=Split.SHARDED, elements=query, layer=number, attention=True)
                yield Announced(split=Split.KEY_VALUE, elements=keys, layer=number, attention=True)
            case Latent():
                if not cache.window:
                    yield Announced(
                        split=Split.REPLICATED, elements=hidden * max(cache.width, 128), layer=number
                    )
                elif cache.stride == 1:
                    yield from _compressed(config, hidden, heads, number)
            case Recurrent():
                elements = hidden * (cache.channels + 2 * cache.groups * cache.group_width)
                elements += hidden * (2 * cache.inner + min(cache.heads, hidden))
                yield Announced(split=Split.SHARDED, elements=elements, layer=number, attention=True)


def _latent(config: Config, hidden: int, heads: int, number: int) -> Iterator[Announced]:
    rank, rope = config.need("kv_lora_rank"), config.size("qk_rope_head_dim", default=0)
    nope = config.size("qk_nope_head_dim", default=0)
    value = config.size("v_head_dim", default=max(1, nope))
    query_rank = config.get("q_lora_rank") or 0
    copied = hidden * (rank + rope + query_rank)
    if config.get("index_topk"):
        index_heads = config.size("index_n_heads", default=1)
        index_width = config.size("index_head_dim", default=128)
        copied += (query_rank or hidden) * index_heads * index_width + hidden * (index_width + index_heads)
    split = (query_rank or hidden) * heads * (nope + rope) + rank * heads * (nope + value)
    split += heads * value * hidden
    yield Announced(split=Split.REPLICATED, elements=copied, layer=number, attention=True)
    yield Announced(split=Split.SHARDED, elements=split, layer=number, attention=True)


def _compressed(config: Config, hidden: int, heads: int, number: int) -> Iterator[Announced]:
    width, query_rank = config.need("head_dim"), config.size("q_lora_rank", default=hidden)
    output_rank = config.size("o_lora_rank", default=hidden)
    groups = config.size("o_groups", default=1)
    split = query_rank * heads * width + heads * width * output_rank + groups * output_rank * hidden
    yield Announced(split=Split.SHARDED, elements=split, layer=number, attention=True)
    copied = hidden * (query_rank + width)
    yield Announced(split=Split.REPLICATED, elements=copied, layer=number, attention=True)


def _feedforward(feedforward: FeedForward, hidden: int, number: int) -> Iterator[Announced]:
    matrices = feedforward.matrices
    if number in feedforward.dense_layers:
        yield Announced(split=Split.SHARDED, elements=matrices * hidden * feedforward.dense, layer=number)
    if number in feedforward.expert_layers:
        each = matrices * feedforward.expert_input * feedforward.expert
        yield Announced(split=Split.EXPERT, elements=feedforward.experts * each, layer=number)
        if feedforward.expert_input != hidden:
            narrowed = 2 * hidden * feedforward.expert_input
            yield Announced(split=Split.REPLICATED, elements=narrowed, layer=number)
        shared = matrices * hidden * feedforward.shared
        yield Announced(split=Split.SHARDED, elements=shared, layer=number)
        router = hidden * feedforward.experts
        yield Announced(split=Split.REPLICATED, elements=router, layer=number, linear=False)


def _encoder_elements(encoder: Config) -> int:
    """Weights of an encoder's layers. Where both widths are given, `hidden_size` is that of its output."""
    hidden = encoder.size("embed_dim", "width", "hidden_size", "vt_hidden_size", default=0)
    depth = encoder.size("num_hidden_layers", "depth", "layers", "vt_num_hidden_layers", default=0)
    wide = encoder.size("intermediate_size", "mlp_dim", "vt_intermediate_size", default=4 * hidden)
    matrices = 3 if encoder.text("hidden_act") == "silu" else 2
    layers = depth * (4 * hidden * hidden + matrices * hidden * wide)
    merged = hidden * encoder.size("spatial_merge_size", default=0) ** 2
    mergers = 1 + len(encoder.numbers("deepstack_visual_indexes"))
    output = encoder.size("out_hidden_size", "hidden_size", default=hidden)
    return layers + mergers * merged * (merged + output)
