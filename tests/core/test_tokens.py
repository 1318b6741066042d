"""Requests and tokens: what each look at the gateways' counters adds; nothing twice, nothing negative."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tertium.api.load import LoadReport, ModelLoad
from tertium.api.v1alpha1 import CountedGateway, Usage
from tertium.core.load import Received, Reports
from tertium.core.tokens import WRITE_SECONDS, Tally, add_tokens, seconds_until_written, tally_of
from tests.factories import KEY, NOW, at, seconds

A3 = CountedGateway(epoch="a", pod="pod-1", requests=3, unmetered_requests=1, prompt_tokens=30)
A5 = CountedGateway(epoch="a", pod="pod-1", requests=5, unmetered_requests=1, prompt_tokens=50)
B2 = CountedGateway(epoch="b", pod="pod-1", requests=2, completion_tokens=9)
C1 = CountedGateway(epoch="c", pod="pod-2", requests=1, prompt_tokens=4)
THREE = Usage(requests=3, unmetered_requests=1, prompt_tokens=30, counted_at=at(-60), counted=(A3,))


@pytest.mark.parametrize(
    ("before", "tally", "after"),
    [
        pytest.param(THREE, None, THREE, id="the gateways were not asked"),
        pytest.param(Usage(), Tally(epochs={"pod-1": "a"}), Usage(), id="nothing was answered"),
        pytest.param(
            Usage(serving_gpu_seconds=7),
            Tally(counted=(A3,), epochs={"pod-1": "a"}),
            THREE.model_copy(update={"serving_gpu_seconds": 7, "counted_at": at(0)}),
            id="the first look adds all of it",
        ),
        pytest.param(
            THREE,
            Tally(counted=(A5,), epochs={"pod-1": "a"}),
            Usage(requests=5, unmetered_requests=1, prompt_tokens=50, counted_at=at(0), counted=(A5,)),
            id="the next one the difference",
        ),
        pytest.param(THREE, Tally(counted=(A3,), epochs={"pod-1": "a"}), THREE, id="no more was answered"),
        pytest.param(
            THREE,
            Tally(counted=(A3.model_copy(update={"requests": 1}),), epochs={"pod-1": "a"}),
            THREE,
            id="fewer than noted is an older look: nothing is taken away",
        ),
        pytest.param(
            THREE,
            Tally(counted=(B2,), epochs={"pod-1": "b"}),
            Usage(
                requests=5,
                unmetered_requests=1,
                prompt_tokens=30,
                completion_tokens=9,
                counted_at=at(0),
                counted=(B2,),
            ),
            id="an Envoy that was started again counts from zero",
        ),
        pytest.param(
            THREE,
            Tally(counted=(A5, B2), epochs={"pod-1": "b"}),
            Usage(
                requests=7,
                unmetered_requests=1,
                prompt_tokens=50,
                completion_tokens=9,
                counted_at=at(0),
                counted=(A5, B2),
            ),
            id="what the ended one had counted last is added as well",
        ),
        pytest.param(
            THREE,
            Tally(counted=(C1,), epochs={"pod-1": None, "pod-2": "c"}),
            Usage(requests=4, unmetered_requests=1, prompt_tokens=34, counted_at=at(0), counted=(A3, C1)),
            id="a pod that does not answer now may do so later: its note stays",
        ),
        pytest.param(
            THREE,
            Tally(counted=(C1,), epochs={"pod-2": "c"}),
            Usage(requests=4, unmetered_requests=1, prompt_tokens=34, counted_at=at(0), counted=(C1,)),
            id="a pod that is gone leaves its sums",
        ),
        pytest.param(
            THREE,
            Tally(epochs={"pod-1": "a"}),
            THREE,
            id="a pod that does not know the deployment for a moment",
        ),
    ],
)
def test_add_tokens(before: Usage, tally: Tally | None, after: Usage) -> None:
    assert add_tokens(before, tally, NOW) == after


@pytest.mark.parametrize(
    ("counted_at", "requests", "wait"),
    [
        pytest.param(None, 0, None, id="nothing was ever answered"),
        pytest.param(None, 1, 0, id="the first answer is written at once"),
        pytest.param(-10, 3, None, id="all is written"),
        pytest.param(-10, 5, WRITE_SECONDS - 10, id="more was answered, but written a moment ago"),
        pytest.param(-WRITE_SECONDS, 5, 0, id="it has waited long enough"),
        pytest.param(-WRITE_SECONDS, 3, None, id="time alone is no reason to write"),
    ],
)
def test_when_sums_are_written(counted_at: float | None, requests: int, wait: float | None) -> None:
    before = Usage() if counted_at is None else THREE.model_copy(update={"counted_at": at(counted_at)})
    entries = (A3.model_copy(update={"requests": requests}),) if requests else ()
    assert seconds_until_written(before, Tally(counted=entries, epochs={"pod-1": "a"}), NOW) == wait


def report(epoch: str = "a", *, uid: str = "uid-1", requests: int = 2) -> Received:
    load = ModelLoad(uid=uid, in_flight=0, held=0, requests=requests, prompt_tokens=7)
    return Received(report=LoadReport(since=NOW, epoch=epoch, models={str(KEY): load}), at=NOW)


@pytest.mark.parametrize(
    ("received", "counted"),
    [
        pytest.param(
            report(), [CountedGateway(epoch="a", pod="p", requests=2, prompt_tokens=7)], id="counters"
        ),
        pytest.param(report(""), [], id="counters of an unknown epoch cannot be told from others"),
        pytest.param(report(uid="uid-0"), [], id="a deleted deployment of the same name"),
        pytest.param(report(requests=0), [], id="nothing was answered"),
        pytest.param(Received(report=None, at=NOW), [], id="no report"),
    ],
)
def test_what_a_report_counts(received: Received, counted: list[CountedGateway]) -> None:
    reports = Reports(by_pod={"p": received}, expected=1)
    tally = tally_of(KEY, "uid-1", reports)
    assert tally is not None
    assert list(tally.counted) == counted
    assert tally_of(KEY, "uid-1", Reports(by_pod={}, expected=1, ended=(("p", received),))) == Tally(
        counted=tuple(counted)
    )


def test_nothing_was_asked() -> None:
    assert tally_of(KEY, "uid-1", None) is None


def test_the_list_of_gateways_is_bounded_and_the_rest_is_counted_later() -> None:
    def counts(several: range) -> tuple[CountedGateway, ...]:
        return tuple(CountedGateway(epoch=f"e{n:03}", pod=f"p{n:03}", requests=1) for n in several)

    everyone = Tally(counted=counts(range(130)), epochs={f"p{n:03}": f"e{n:03}" for n in range(130)})
    full = add_tokens(Usage(), everyone, NOW)
    assert (full.requests, len(full.counted)) == (100, 100)
    assert add_tokens(full, everyone, NOW) == full
    fewer = Tally(counted=counts(range(60, 130)), epochs={f"p{n:03}": f"e{n:03}" for n in range(60, 130)})
    assert add_tokens(full, fewer, NOW).requests == 130


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["answer", "look", "stale look", "restart", "silent", "operator restarts"]),
        st.integers(0, 1),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(_EVENTS)
def test_whatever_happens_each_answer_is_counted_at_most_once_and_only_a_kill_loses_any(
    events: list[tuple[str, int]],
) -> None:
    """Two gateway pods, an operator that looks now and then, also on a status it has since replaced."""
    epochs, counts, silent = [0, 1], [0, 0], [False, False]
    ended: dict[str, CountedGateway] = {}
    answered = unseen = 0
    before = usage = Usage()
    names = 2

    def entry(pod: int) -> CountedGateway:
        return CountedGateway(epoch=str(epochs[pod]), pod=str(pod), requests=counts[pod])

    def look(base: Usage) -> Usage:
        told: Mapping[str, CountedGateway] = ended | {
            str(epochs[pod]): entry(pod) for pod in (0, 1) if not silent[pod] and counts[pod]
        }
        known = {str(pod): None if silent[pod] else str(epochs[pod]) for pod in (0, 1)}
        return add_tokens(base, Tally(counted=tuple(told.values()), epochs=known), NOW)

    for event, pod in events:
        if event == "answer":
            counts[pod] += 1
            answered += 1
        elif event == "look":
            before, usage = usage, look(usage)
        elif event == "stale look":
            # The watch had not brought the last write yet: what is made of the older one is written over it.
            usage = look(before)
        elif event == "restart":
            # An operator that polls knows the last report; one that could not reach the pod does not.
            if silent[pod]:
                unseen += counts[pod]
            elif counts[pod]:
                ended[str(epochs[pod])] = entry(pod)
            epochs[pod], counts[pod], names = names, 0, names + 1
        elif event == "silent":
            silent[pod] = not silent[pod]
        else:
            unseen += sum(item.requests for item in ended.values())
            ended.clear()
            before = usage
        assert before.requests <= answered
        assert usage.requests <= answered
    silent = [False, False]
    final = look(usage)
    assert answered - unseen <= final.requests <= answered
    assert look(final) == final
    assert all(seconds(0) <= seconds(item.requests) for item in final.counted)
