"""No two clusters, and no cluster and anything else on the machine, share an address."""

import ipaddress
from pathlib import Path

import pytest

from e2e.cluster import slots
from e2e.cluster.errors import ClusterError
from e2e.cluster.slots import SLOTS, Addresses, free_slot
from e2e.cluster.spec import MAX_NODES


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of this test's own, on a machine with one ordinary network."""
    monkeypatch.setattr(slots, "RUN_DIR", tmp_path / "run")
    monkeypatch.setattr(slots, "machine_networks", lambda: ["192.0.2.2/24"])
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("taken", "networks", "expected"),
    [
        pytest.param([], [], "10.200", id="the first slot of an empty machine"),
        pytest.param(["10.200", "10.201"], [], "10.202", id="the first that no other cluster has"),
        pytest.param([], ["10.200.5.5/24"], "10.201", id="not one that a network of the machine lies in"),
        pytest.param(
            [], ["10.0.0.0/8"], "198.18", id="the test range where the machine's network is all of 10/8"
        ),
        pytest.param(
            [], ["192.0.2.2/24", "fe80.invalid/64"][:1], "10.200", id="networks elsewhere do not matter"
        ),
    ],
)
def test_free_slot(taken: list[str], networks: list[str], expected: str) -> None:
    assert free_slot(taken, networks) == expected


def test_the_slot_of_the_last_run_is_preferred_while_it_is_free() -> None:
    assert free_slot([], [], "10.207") == "10.207"
    assert free_slot(["10.207"], [], "10.207") == "10.200"


def test_a_machine_without_a_free_range_is_told_where_to_look() -> None:
    with pytest.raises(ClusterError, match=r"no free address range: .* `ip route`"):
        free_slot(SLOTS[:3], ["10.0.0.0/8", "198.18.0.0/15"])


def test_all_ranges_of_a_cluster_lie_in_its_slot_and_apart() -> None:
    at = Addresses("10.200")
    ranges = [ipaddress.ip_network(r) for r in (f"{at.prefix}.0.0/24", at.services, at.pods)]
    assert all(r.subnet_of(ipaddress.ip_network(at.network)) for r in ranges)  # type: ignore[arg-type]
    assert not any(a.overlaps(b) for a in ranges for b in ranges if a is not b)
    assert ipaddress.ip_address(at.api_service) in ranges[1]
    assert ipaddress.ip_address(at.dns_service) in ranges[1]


def test_every_possible_node_has_an_address_and_a_pod_range_of_its_own() -> None:
    at = Addresses("10.200")
    pods = ipaddress.ip_network(at.pods)
    assert all(ipaddress.ip_network(at.node_pods(i)).subnet_of(pods) for i in range(MAX_NODES))  # type: ignore[arg-type]
    addresses = [at.control, at.machine, *(at.node(i) for i in range(MAX_NODES))]
    assert len(set(addresses)) == len(addresses)


def test_two_clusters_get_two_slots_and_one_cluster_keeps_its_own(run_dir: Path, tmp_path: Path) -> None:
    first = slots.claim("a", tmp_path / "a")
    assert slots.claim("b", tmp_path / "b") != first
    assert slots.claim("a", tmp_path / "a") == first


def test_a_released_slot_is_free_again(run_dir: Path, tmp_path: Path) -> None:
    first = slots.claim("a", tmp_path / "a")
    slots.release("a")
    assert slots.claim("b", tmp_path / "b") == first


def test_a_name_with_another_state_directory_is_refused(run_dir: Path, tmp_path: Path) -> None:
    slots.claim("a", tmp_path / "a")
    with pytest.raises(
        ClusterError, match=r"cluster a: already there with the state directory .*TERTIUM_STATE"
    ):
        slots.claim("a", tmp_path / "elsewhere")


def test_the_last_cluster_takes_its_mount_points_away_and_no_other(run_dir: Path, tmp_path: Path) -> None:
    made, used, old = tmp_path / "made", tmp_path / "used", tmp_path / "old"
    old.mkdir()
    slots.claim("a", tmp_path / "a")
    slots.claim("b", tmp_path / "b")
    slots.ensure_mountpoints([str(made), str(used), str(old)])
    (used / "somebody-elses").touch()
    slots.release("a")
    assert made.is_dir()
    slots.release("b")
    assert [path.exists() for path in (made, used, old)] == [False, True, True]
