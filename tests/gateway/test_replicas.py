"""Which pods get requests."""

from __future__ import annotations

from typing import Any

import pytest

from tertium.api.meta import ObjectKey
from tertium.gateway.replicas import parse_replica, serves
from tests.gateway.parts import a_pod

KEY = ObjectKey("team", "m")


@pytest.mark.parametrize(
    ("pod", "proven", "suspect", "expected"),
    [
        pytest.param({"ip": ""}, False, False, False, id="without an IP: no"),
        pytest.param(
            {"ready": True, "leaving": True}, True, False, False, id="being deleted: no, even if ready"
        ),
        pytest.param({"ready": True, "phase": "Failed"}, True, False, False, id="ended: no"),
        pytest.param({}, False, False, False, id="starting: no"),
        pytest.param({"ready": True}, False, False, True, id="ready: yes, without a probe of ours"),
        pytest.param({}, True, False, True, id="our probe was answered before the kubelet's: yes"),
        pytest.param({"ready": True}, False, True, False, id="ready, but it refused a connection: no"),
        pytest.param({}, True, True, False, id="answered once, then refused: no"),
    ],
)
def test_serves(pod: dict[str, Any], proven: bool, suspect: bool, expected: bool) -> None:
    replica = parse_replica(a_pod(KEY, **{"ip": "10.0.0.1", **pod}))
    known = {replica.incarnation}
    assert serves(replica, proven=known if proven else set(), suspect=known if suspect else set()) is expected


@pytest.mark.parametrize(
    ("later", "same"),
    [
        pytest.param({"ip": "10.0.0.1"}, True, id="a status without news is the same life"),
        pytest.param({"restarts": 1}, False, id="a restarted container is another"),
        pytest.param({"ready_since": "t1"}, False, id="a change of readiness ends what a probe had shown"),
    ],
)
def test_incarnation(later: dict[str, Any], same: bool) -> None:
    first, second = (parse_replica(a_pod(KEY, name="p", **pod)) for pod in ({}, later))
    assert (first.incarnation == second.incarnation) is same


def test_a_pod_the_kubelet_has_not_seen_yet_is_read() -> None:
    pod = {"metadata": {"name": "p", "namespace": "team", "uid": "u"}}
    replica = parse_replica(pod)
    assert (replica.ip, replica.ready, replica.reachable, replica.owner_label) == ("", False, False, "")
