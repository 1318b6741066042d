"""The tokenizer files of SmolLM2, made from the vocabulary and merges of its GGUF file.

GGUF stores the tokens of a byte-level BPE but only names its pre-tokenizer. `smollm` means: single digits
first, then GPT-2's splitting on bytes. Must not know about weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.models.checkpoint import write_json

# ChatML, as SmolLM2 was trained on, but without the system message that its own template puts before a
# conversation: with 4-bit weights that message leaves the first word of an answer undecided (0.1 nat apart
# for the capital of France, so rounding picks it); without it the right word leads by 1.7 nat.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL_TOKEN = 3  # GGUF's token type of markers such as <|im_start|>, which are matched before any splitting


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What GGUF says about the tokens; the index of a token is its id."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...]
    max_length: int
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    unknown_token_id: int

    def control_ids(self) -> tuple[int, ...]:
        """Ids of the markers, in order."""
        return tuple(index for index, kind in enumerate(self.types) if kind == CONTROL_TOKEN)


def write_tokenizer(folder: Path, vocabulary: Vocabulary) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`."""
    write_json(folder / "tokenizer.json", tokenizer(vocabulary))
    write_json(folder / "tokenizer_config.json", tokenizer_config(vocabulary))


def tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """The tokenizer.json as the `tokenizers` library reads it."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, **_marker(vocabulary.tokens[index])} for index in vocabulary.control_ids()
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
            "merges": [_merge(merge) for merge in vocabulary.merges],
        },
    }


def tokenizer_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """The tokenizer_config.json, with the chat template."""
    return {
        "added_tokens_decoder": {
            str(index): _marker(vocabulary.tokens[index]) for index in vocabulary.control_ids()
        },
        "add_prefix_space": False,
        "bos_token": vocabulary.tokens[vocabulary.bos_token_id],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": vocabulary.tokens[vocabulary.eos_token_id],
        "model_max_length": vocabulary.max_length,
        "pad_token": vocabulary.tokens[vocabulary.pad_token_id],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": vocabulary.tokens[vocabulary.unknown_token_id],
    }


def _marker(token: str) -> dict[str, Any]:
    return {
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _merge(merge: str) -> list[str]:
    # A byte-level token never holds a space itself: the space between the two halves is the only one.
    left, _, right = merge.partition(" ")
    return [left, right]
