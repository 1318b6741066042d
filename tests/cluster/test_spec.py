"""The words of the command line become a spec, or an error that says what was expected."""

import json

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.spec import ClusterSpec, Gpus, Mount, build_spec

SMALL = Gpus(count=4, product="Fake-GPU-2GB", memory_mib=2048)
LARGE = Gpus(count=4, product="Fake-GPU-24GB", memory_mib=24576)


def test_two_nodes_by_default_have_gpus_of_two_sizes() -> None:
    assert build_spec("a").gpus == (LARGE, SMALL)


def test_more_nodes_take_the_two_sizes_in_turn() -> None:
    assert build_spec("a", nodes=3).gpus == (LARGE, SMALL, LARGE)


def test_gpus_sets_the_count_of_every_node() -> None:
    assert [gpus.count for gpus in build_spec("a", gpus=1).gpus] == [1, 1]


def test_gpu_node_changes_one_node() -> None:
    spec = build_spec("a", gpu_nodes=["1=2xFake-GPU-80GB:81920"])
    assert spec.gpus == (LARGE, Gpus(count=2, product="Fake-GPU-80GB", memory_mib=81920))


def test_gpu_node_with_a_count_alone_keeps_the_product() -> None:
    assert build_spec("a", gpu_nodes=["0=0"]).gpus[0] == Gpus(
        count=0, product="Fake-GPU-24GB", memory_mib=24576
    )


def test_a_mount_names_both_paths() -> None:
    assert build_spec("a", mounts=["/srv/engine:/opt/vllm"]).mounts == (
        Mount(host="/srv/engine", container="/opt/vllm"),
    )


def test_a_spec_survives_being_written_down() -> None:
    spec = build_spec("a", nodes=3, gpu_nodes=["1=0"], mounts=["/a:/b"])
    assert ClusterSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_words_of_a_spec_tell_nodes_gpus_and_mounts() -> None:
    words = "2 nodes (1 x Fake-GPU-24GB, 1 x Fake-GPU-2GB, /a at /b)"
    assert build_spec("a", gpus=1, mounts=["/a:/b"]).words() == words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"name": "A b"}, "cluster name 'A b': expected at most 20", id="a name with a space"),
        pytest.param(
            {"name": "a" * 21}, "expected at most 20 lower-case letters", id="a name that is too long"
        ),
        pytest.param(
            {"nodes": -1}, "--nodes -1: expected 0 (a control plane alone) to 60", id="less than none"
        ),
        pytest.param(
            {"nodes": 61}, "--nodes 61: expected 0 (a control plane alone) to 60", id="too many for addresses"
        ),
        pytest.param({"gpus": -1}, "node 0: -1 GPUs; expected 0 to 64", id="a negative number of GPUs"),
        pytest.param(
            {"gpu_nodes": ["2=1"]},
            "there is no node 2; nodes are 0 to 1",
            id="GPUs for a node that is not there",
        ),
        pytest.param(
            {"gpu_nodes": ["one"]}, "--gpu-node 'one': expected NODE=COUNT", id="GPUs in words nobody reads"
        ),
        pytest.param(
            {"gpu_nodes": ["0=1xFake"]}, "NODE=COUNTxPRODUCT:MEMORY_MIB", id="a product without its memory"
        ),
        pytest.param(
            {"mounts": ["a:b"]}, "--gpu-mount 'a:b': expected /HOST/PATH", id="a mount by relative paths"
        ),
    ],
)
def test_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ClusterError) as error:
        build_spec(**{"name": "a", **arguments})  # type: ignore[arg-type]
    assert message in str(error.value)
