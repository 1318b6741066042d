"""The tokenizer files, from a vocabulary of a few tokens."""

import json
from pathlib import Path

from e2e.models.tokenizer import CONTROL_TOKEN, Vocabulary, tokenizer, tokenizer_config, write_tokenizer

VOCABULARY = Vocabulary(
    tokens=("<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "Ġ", "ab", "Ġab"),
    types=(CONTROL_TOKEN, CONTROL_TOKEN, CONTROL_TOKEN, 1, 1, 1, 1, 1),
    merges=("a b", "Ġ ab"),
    max_length=64,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=2,
    unknown_token_id=0,
)


def test_the_index_of_a_token_is_its_id() -> None:
    vocab = tokenizer(VOCABULARY)["model"]["vocab"]
    assert vocab == {token: index for index, token in enumerate(VOCABULARY.tokens)}


def test_a_merge_is_the_pair_it_joins() -> None:
    assert tokenizer(VOCABULARY)["model"]["merges"] == [["a", "b"], ["Ġ", "ab"]]


def test_markers_are_matched_before_the_text_is_split() -> None:
    added = tokenizer(VOCABULARY)["added_tokens"]
    assert [(token["id"], token["content"], token["special"]) for token in added] == [
        (0, "<|endoftext|>", True),
        (1, "<|im_start|>", True),
        (2, "<|im_end|>", True),
    ]


def test_numbers_are_split_into_digits_before_bytes_are_looked_at() -> None:
    first, second = tokenizer(VOCABULARY)["pre_tokenizer"]["pretokenizers"]
    assert (first["type"], first["individual_digits"], second["type"]) == ("Digits", True, "ByteLevel")


def test_an_answer_ends_where_the_model_ends_it() -> None:
    config = tokenizer_config(VOCABULARY)
    assert (config["bos_token"], config["eos_token"]) == ("<|im_start|>", "<|im_end|>")


def test_files_are_json_that_keeps_other_alphabets(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, VOCABULARY)
    assert "Ġab" in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 64
