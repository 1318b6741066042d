"""Models in folders, with real safetensors files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tertium.api.conditions import Reason
from tertium.core.errors import Terminal
from tertium.loader.folder import inspect_folder
from tertium.loader.safetensors import tensors_of
from tests.loader.models import CONFIG, TENSOR_BYTES, write_model, write_shard, write_sharded_model

SOURCE = "pvc://claim/model"


def test_a_folder_s_facts_are_its_config_and_the_bytes_of_its_tensors(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    facts = inspect_folder(tmp_path, "model", SOURCE)
    assert facts["config"] == CONFIG
    assert facts["weightBytes"] == 2 * TENSOR_BYTES
    assert facts["revision"] == ""


def test_tensors_are_stored_by_pattern(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    write_shard(folder, "model.safetensors", *(f"model.layers.{layer}.w.weight" for layer in range(40)))
    facts = inspect_folder(tmp_path, "model", SOURCE)
    assert facts["tensors"] == [["model.layers.{}.w.weight", "F16", [4, 8], [[0, 39]], 1]]


def test_a_header_in_another_spelling_says_the_same(tmp_path: Path) -> None:
    entry = {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}
    found = []
    for name, separators in (("compact", (",", ":")), ("spaced", (", ", ": "))):
        folder = write_model(tmp_path / name)
        header = json.dumps({"__metadata__": {"dtype": "F16"}, "a": entry}, separators=separators).encode()
        data = len(header).to_bytes(8, "little") + header + bytes(12)
        (folder / "model.safetensors").write_bytes(data)
        found.append(inspect_folder(tmp_path, name, SOURCE))
    assert found[0] == found[1]


def test_experts_are_counted_by_layer_and_the_numbers_in_other_names_are_kept(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    names = [f"model.layers.{layer}.experts.{expert}.w1.weight" for layer in (0, 1) for expert in range(3)]
    others = ["h2.layers.0.experts.7.w", "layers.0.w1.5b.w", "0.weight", "layers.1234567890.experts.4.w"]
    write_shard(folder, "model.safetensors", *names, *others)
    found = {entry[0]: entry[3:] for entry in inspect_folder(tmp_path, "model", SOURCE)["tensors"]}
    assert found == {
        "model.layers.{}.experts.{}.w1.weight": [[[0, 1]], 3],
        "h2.layers.{}.experts.{}.w": [[[0, 0]], 1],
        "layers.{}.w1.5b.w": [[[0, 0]], 1],
        "0.weight": [[], 1],
        "layers.1234567890.experts.{}.w": [[[4, 4]], 1],
    }


def test_a_tensor_in_an_unusual_spelling_among_usual_ones_counts(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    usual = '"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}'
    unusual = '"b{}": {"shape": [2, 3], "dtype": "F16", "data_offsets": [12, 24]}'
    header = f"{{{usual}, {unusual}}}".encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    assert inspect_folder(tmp_path, "model", SOURCE)["weightBytes"] == 24


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param({}, {"quantization": {"quant_algo": "NVFP4"}}, id="where the config does not say it"),
        pytest.param(
            {"quantization_config": {"quant_method": "fp8"}}, {"quant_method": "fp8"}, id="where it does, not"
        ),
    ],
)
def test_quantization_is_read_from_a_file_of_its_own(
    tmp_path: Path, said: dict[str, Any], found: dict[str, Any]
) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps(CONFIG | said))
    apart = {"quantization": {"quant_algo": "NVFP4", "quantized_layers": {"a": {"quant_algo": "FP8"}}}}
    (folder / "hf_quant_config.json").write_text(json.dumps(apart))
    assert inspect_folder(tmp_path, "model", SOURCE)["config"]["quantization_config"] == found


def test_only_the_shards_of_the_index_count(tmp_path: Path) -> None:
    write_sharded_model(tmp_path / "model")
    assert inspect_folder(tmp_path, "model", SOURCE)["weightBytes"] == 2 * TENSOR_BYTES


def test_a_folder_below_a_folder_is_found(tmp_path: Path) -> None:
    write_model(tmp_path / "org" / "model")
    assert inspect_folder(tmp_path, "org/model", SOURCE)["weightBytes"] == 2 * TENSOR_BYTES


def test_the_digest_follows_config_and_tensors_and_nothing_else(tmp_path: Path) -> None:
    one, two = write_model(tmp_path / "one"), write_model(tmp_path / "two")
    (two / "README.md").write_text("other words")

    def digest(folder: Path) -> str:
        found: str = inspect_folder(tmp_path, folder.name, SOURCE)["digest"]
        return found

    assert digest(one).startswith("sha256:")
    assert len(digest(one)) == 71
    assert digest(one) == digest(two)
    (two / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3}))
    assert digest(one) != digest(two)
    write_shard(one, "model.safetensors", "a", "c")
    assert digest(one) != digest(two)


def _without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _with_text_for_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type":\n  llama}')


def _with_a_list_for_config(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


def _with_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut_in_its_data(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _cut_in_its_header(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:40])


def _empty(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"")


def _not_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"PK\x03\x04zipzip" * 100)


def _with_a_broken_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((5).to_bytes(8, "little") + b"hello")


def _with_an_unknown_entry(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F16"}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _header(folder: Path, entries: object) -> None:
    header = json.dumps(entries).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _with_a_negative_shape(folder: Path) -> None:
    _header(folder, {"a": {"dtype": "F16", "shape": [-1], "data_offsets": [0, 2]}})


def _with_an_absurd_shape(folder: Path) -> None:
    _header(folder, {"a": {"dtype": "F16", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 2]}})


def _with_an_unknown_type(folder: Path) -> None:
    _header(folder, {"a": {"dtype": "F12", "shape": [1], "data_offsets": [0, 2]}})


def _with_a_size_that_is_not_its_shape_s(folder: Path) -> None:
    _header(folder, {"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 2]}})


def _with_a_config_of_a_gigabyte(folder: Path) -> None:
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 30)


def _with_an_index_of_numbers(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}')


def _with_an_index_that_leaves_the_folder(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')


def _with_a_broken_quantization(folder: Path) -> None:
    (folder / "hf_quant_config.json").write_text("{")


def _without_tensors(folder: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _with_an_index_of_absent_shards(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')


def _with_an_index_of_nothing(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            _without_config,
            "there is no config.json; the folder holds model.safetensors",
            id="without config.json it says what there is",
        ),
        pytest.param(
            _with_text_for_config,
            "config.json is not JSON: Expecting value: line 2 column 3 (char 17)",
            id="a config that is not JSON is shown by line and column",
        ),
        pytest.param(
            _with_a_list_for_config,
            "config.json holds a list, expected an object",
            id="a config that is no object",
        ),
        pytest.param(
            _with_pickled_weights,
            "there are no safetensors weights; the folder holds config.json, pytorch_model.bin. "
            "Convert the model to safetensors",
            id="other weights are not enough",
        ),
        pytest.param(
            _with_an_index_of_absent_shards,
            "model.safetensors.index.json names model-1.safetensors, which is not there; "
            "copy the model again",
            id="a shard of the index is missing",
        ),
        pytest.param(
            _with_an_index_of_nothing, "model.safetensors.index.json has no weight_map", id="an empty index"
        ),
        pytest.param(
            _cut_in_its_data,
            "model.safetensors is cut off: b should end at byte 128 and the data has 127; copy it again",
            id="a file cut in its data",
        ),
        pytest.param(
            _cut_in_its_header,
            "model.safetensors is cut off: its header should take 120 bytes and the file has 40; "
            "copy it again",
            id="a file cut in its header",
        ),
        pytest.param(
            _empty,
            "model.safetensors is not a safetensors file; copy it again",
            id="an empty file",
        ),
        pytest.param(
            _not_safetensors,
            "model.safetensors is not a safetensors file; copy it again",
            id="another format under this name",
        ),
        pytest.param(
            _with_a_broken_header,
            "model.safetensors: its header is not JSON: Expecting value: line 1 column 1 (char 0)",
            id="a header that is not JSON",
        ),
        pytest.param(
            _with_an_unknown_entry,
            "model.safetensors: its header describes a in no known way",
            id="a header of another shape",
        ),
        pytest.param(
            _with_a_negative_shape,
            "model.safetensors: its header describes a in no known way",
            id="a negative size",
        ),
        pytest.param(
            _with_an_absurd_shape,
            "model.safetensors: its header gives a the shape [1099511627776, 1099511627776], "
            "which is out of bounds",
            id="an absurd size",
        ),
        pytest.param(
            _with_an_unknown_type,
            "model.safetensors: a is of type F12, expected one of F64, I64, U64, C64, F32, I32, U32, F16, "
            "BF16, I16, U16, F8_E4M3, F8_E5M2, F8_E8M0, I8, U8, BOOL, F6_E2M3, F6_E3M2, F4",
            id="a type that nobody knows",
        ),
        pytest.param(
            _with_a_size_that_is_not_its_shape_s,
            "model.safetensors: its header gives a 2 bytes, expected 8 for its shape and F16; copy it again",
            id="a size that is not its shape's",
        ),
        pytest.param(
            _with_a_config_of_a_gigabyte,
            "config.json has 1,073,741,824 bytes, expected at most 8,388,608; is it the right file?",
            id="a config of a gigabyte",
        ),
        pytest.param(
            _with_an_index_of_numbers,
            "model.safetensors.index.json names 1, expected a file beside it",
            id="an index of numbers",
        ),
        pytest.param(
            _with_an_index_that_leaves_the_folder,
            "model.safetensors.index.json names '../other.safetensors', expected a file beside it",
            id="an index that leaves the folder",
        ),
        pytest.param(
            _with_a_broken_quantization,
            "hf_quant_config.json is not JSON: Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1)",
            id="a quantization that is not JSON",
        ),
        pytest.param(_without_tensors, "model.safetensors holds no tensors", id="a file without tensors"),
    ],
)
def test_a_damaged_model_is_refused_by_file(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(write_model(tmp_path / "model"))
    with pytest.raises(Terminal) as refused:
        inspect_folder(tmp_path, "model", SOURCE)
    assert refused.value.reason is Reason.INSPECTION_FAILED
    assert str(refused.value) == f"{SOURCE}: {message}"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("other", "there is no folder other; in its place there is org", id="no such folder"),
        pytest.param(
            "org/other",
            "there is no folder other; in its place there is model",
            id="no such folder further down",
        ),
        pytest.param(
            "org/model/config.json",
            "there is no folder config.json; in its place there is config.json, model.safetensors",
            id="a file is no folder",
        ),
    ],
)
def test_a_folder_that_is_not_there_is_named_with_what_is(tmp_path: Path, path: str, message: str) -> None:
    write_model(tmp_path / "org" / "model")
    with pytest.raises(Terminal) as refused:
        inspect_folder(tmp_path, path, SOURCE)
    assert refused.value.reason is Reason.MODEL_NOT_FOUND
    assert str(refused.value) == f"{SOURCE}: {message}"


HEADER = b'{"__metadata__": {}, "a.0.b.1.c": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}'


@settings(max_examples=200, deadline=None)
@example(at=HEADER.index(b"3]") + 1, cut=0, text=b", ")
@given(at=st.integers(0, len(HEADER)), cut=st.integers(0, 6), text=st.binary(max_size=4))
def test_a_damaged_header_is_refused_in_words_or_read(at: int, cut: int, text: bytes) -> None:
    try:
        found = tensors_of(HEADER[:at] + text + HEADER[at + cut :], SOURCE)
    except Terminal as error:
        refused = str(error)
    else:
        assert sum(copies for *_, copies in found) == 1
        return
    assert refused.startswith(SOURCE)


def test_long_listings_are_cut(tmp_path: Path) -> None:
    for index in range(10):
        (tmp_path / f"m{index}").mkdir()
    with pytest.raises(Terminal, match=r"there is m0, m1, m2, m3, m4, m5, m6, m7 and 2 more$"):
        inspect_folder(tmp_path, "other", SOURCE)
