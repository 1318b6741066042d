"""A gateway whose time of day jumps: what it holds, it holds for as long as was asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx
import pytest

from e2e.bench.pod import our_gateway, show_model, show_replica
from e2e.bench.subjects import MODEL, Workshop, engine
from e2e.caller import Caller, chat_body
from e2e.fleet.clock import clock_of
from e2e.fleet.model import Model
from e2e.fleet.operator import OperatorProcess
from e2e.fleet.plane import Plane
from e2e.waiting import until
from tertium.core.demand import CLAIM_SECONDS

pytestmark = pytest.mark.e2e

BRIEF_SECONDS: Final = 6


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    """Programs that end with the test."""
    with contextlib.ExitStack() as stack:
        yield Workshop(tmp_path, stack)


def test_a_gateway_whose_clock_jumps_keeps_what_it_holds_and_the_wake(
    plane: Plane, operator: OperatorProcess, shop: Workshop, tmp_path: Path
) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+0")
    engine(shop)
    # No node is good enough for its replicas: the one that answers is made below.
    show_model(plane, template={"nodeSelector": {"zone": "nowhere"}}, coldStart={"holdSeconds": 300})
    namespace, name = MODEL.split("/")
    model = Model(api=plane.api, namespace=namespace, name=name)
    model.wait("Planned", "True", seconds=30)
    # Envoy does not run under libfaketime; its timers are of the clock that nobody sets.
    caller = Caller(url=our_gateway(shop, plane, clock_of(offset)).url)
    until("it knows the model", lambda: known(caller), seconds=60)
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(caller.chat, MODEL)
        model.wait_replicas(1, seconds=20)
        # An hour ahead, and back: before its own time no certificate of the API server's is valid.
        for jump in ("+3600", "+0"):
            wish = {"x_tertium_hold_seconds": str(BRIEF_SECONDS)}
            brief = pool.submit(caller.post, "/v1/chat/completions", chat_body(MODEL, "Hello"), **wish)
            time.sleep(1)
            offset.write_text(jump)
            time.sleep(CLAIM_SECONDS + 5)
            assert not held.done(), held.result()
            assert model.replicas() == 1, f"a jump to {jump} s ended the wake"
            refused = brief.result()
            assert (refused.status, refused.error["code"]) == (503, "model_starting"), refused.body
            assert BRIEF_SECONDS - 1 < refused.seconds < BRIEF_SECONDS + 3, f"after a jump to {jump} s"
        show_replica(plane)
        assert held.result().status == 200


def known(caller: Caller) -> bool:
    with contextlib.suppress(httpx.TransportError, ValueError):
        return caller.get(f"/v1/models/{MODEL}").status == 200
    return False
