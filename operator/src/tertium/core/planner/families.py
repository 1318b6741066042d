"""The architectures whose layers, weights and rules of splitting were compared with the engine's own code.

For any other the arithmetic is an upper bound where one is possible, and the plan says that it is unverified.
"""

from __future__ import annotations

from typing import Final

VERIFIED: Final = frozenset(
    [
        "AfmoeForCausalLM",
        "BaichuanForCausalLM",
        "BaiChuanForCausalLM",
        "BertModel",
        "BertForSequenceClassification",
        "ChatGLMModel",
        "ChatGLMForConditionalGeneration",
        "CohereForCausalLM",
        "Cohere2ForCausalLM",
        "DeciLMForCausalLM",
        "DeepseekForCausalLM",
        "DeepseekV2ForCausalLM",
        "DeepseekV3ForCausalLM",
        "DeepseekV32ForCausalLM",
        "DeepseekV4ForCausalLM",
        "Exaone4ForCausalLM",
        "ExaoneForCausalLM",
        "FalconH1ForCausalLM",
        "Gemma2ForCausalLM",
        "Gemma3ForCausalLM",
        "Gemma3ForConditionalGeneration",
        "Gemma4ForCausalLM",
        "Gemma4ForConditionalGeneration",
        "GemmaForCausalLM",
        "Glm4ForCausalLM",
        "Glm4MoeForCausalLM",
        "GlmForCausalLM",
        "GlmMoeDsaForCausalLM",
        "GptOssForCausalLM",
        "GraniteForCausalLM",
        "GraniteMoeForCausalLM",
        "GraniteMoeHybridForCausalLM",
        "InternLM2ForCausalLM",
        "InternLM2ForRewardModel",
        "InternLM3ForCausalLM",
        "JambaForCausalLM",
        "KimiK25ForConditionalGeneration",
        "KimiK3ForConditionalGeneration",
        "KimiLinearForCausalLM",
        "KimiVLForConditionalGeneration",
        "Lfm2ForCausalLM",
        "Lfm2MoeForCausalLM",
        "Llama4ForCausalLM",
        "Llama4ForConditionalGeneration",
        "LlamaForCausalLM",
        "LlamaForSequenceClassification",
        "LLaMAForCausalLM",
        "LlavaForConditionalGeneration",
        "LlavaNextForConditionalGeneration",
        "LlavaQwen2ForCausalLM",
        "MiMoForCausalLM",
        "MiMoV2FlashForCausalLM",
        "MiniCPM3ForCausalLM",
        "MiniCPMForCausalLM",
        "MiniMaxM2ForCausalLM",
        "MiniMaxM3SparseForCausalLM",
        "MiniMaxM3SparseForConditionalGeneration",
        "MiniMaxText01ForCausalLM",
        "Ministral3ForCausalLM",
        "Mistral3ForConditionalGeneration",
        "MistralForCausalLM",
        "MistralModel",
        "MixtralForCausalLM",
        "NemotronForCausalLM",
        "NemotronHForCausalLM",
        "Olmo2ForCausalLM",
        "Olmo3ForCausalLM",
        "OlmoForCausalLM",
        "OlmoeForCausalLM",
        "PhiForCausalLM",
        "Phi3ForCausalLM",
        "Phi3SmallForCausalLM",
        "Phi3VForCausalLM",
        "PhiMoEForCausalLM",
        "QWenLMHeadModel",
        "Qwen2ForCausalLM",
        "Qwen2ForSequenceClassification",
        "Qwen2MoeForCausalLM",
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
        "Qwen3NextForCausalLM",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLMoeForConditionalGeneration",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5MoeForConditionalGeneration",
        "Qwen3_5ForCausalLM",
        "Qwen3_5MoeForCausalLM",
        "SeedOssForCausalLM",
        "SmolLM3ForCausalLM",
        "SolarForCausalLM",
        "StableLmForCausalLM",
        "StableLMEpochForCausalLM",
        "Starcoder2ForCausalLM",
        "Step3p5ForCausalLM",
        "XLMRobertaModel",
        "XverseForCausalLM",
        "GPT2LMHeadModel",
    ]
)

ENCODERS: Final = frozenset({"bert", "roberta", "xlm-roberta", "modernbert", "nomic_bert", "new", "gte"})
"""Types that read a text at once and keep no cache."""

SUPPORTED_UNTIL: Final = {
    "Phi3SmallForCausalLM": (0, 9),
    "MllamaForConditionalGeneration": (0, 10),
    "QWenLMHeadModel": (0, 23),
    "BaichuanForCausalLM": (0, 23),
    "BaiChuanForCausalLM": (0, 23),
    "XverseForCausalLM": (0, 23),
    "MiniMaxText01ForCausalLM": (0, 23),
    "MiniMaxM1ForCausalLM": (0, 23),
    "InternLMForCausalLM": (0, 23),
    "Grok1ModelForCausalLM": (0, 24),
    "ArcticForCausalLM": (0, 28),
    "StableLMEpochForCausalLM": (0, 28),
}
"""The last release that supports an architecture which is gone, and which no general class replaces.
Source: the registry of 0.32."""

DEFAULTS: Final = {
    "llama": {
        "vocab_size": 32_000,
        "hidden_size": 4096,
        "intermediate_size": 11_008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
        "rope_theta": 10_000,
    },
    "gemma3_text": {
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "rope_local_base_freq": 10_000,
        "rope_theta": 1_000_000,
    },
}
"""What the text part of a config.json leaves out: the defaults of its class in transformers."""

TIED_BY_DEFAULT: Final = ("gemma", "cohere", "gpt2", "bloom", "opt", "falcon", "starcoder", "bert", "roberta")
"""Types whose output head is the embedding unless the config says otherwise."""

CHECK_EXPERTS: Final = (
    "Cohere2Moe", "Ernie4_5_Moe", "ExaoneMo", "HYV3", "Lfm2Moe", "MiMoV2", "MiniMaxM2", "MiniMaxM3",
    "Qwen2Moe", "Qwen3Moe", "Qwen3Next", "Qwen3VLMoe", "Qwen3_5Moe", "Step3",
)  # fmt: skip
"""Architectures, by the start of their names, that refuse more ranks than experts."""

WHOLE_ENCODERS: Final = ("Gemma4", "Gemma3n")
"""Architectures, by the start of their names, whose encoder is not split over ranks."""
