"""The queue under any order of calls: nothing is lost, nothing is worked on twice at a time."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tertium.runtime.queue import Lane, WorkQueue

KEYS = st.sampled_from("abcde")


class QueueMachine(RuleBasedStateMachine):
    """The queue beside a model of it: which keys somebody asked for and no worker has begun since."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = WorkQueue[str]()
        self.owed: dict[str, Lane] = {}
        self.working: set[str] = set()

    def teardown(self) -> None:
        self.queue.close()
        self.loop.close()

    @rule(key=KEYS, lane=st.sampled_from(Lane))
    def add(self, key: str, lane: Lane) -> None:
        self.queue.add(key, lane)
        self.owed[key] = min(lane, self.owed.get(key, lane))

    @rule(key=KEYS, lane=st.sampled_from(Lane))
    def add_after_no_time(self, key: str, lane: Lane) -> None:
        async def wait() -> None:
            self.queue.add_after(key, 0, lane)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        self.loop.run_until_complete(wait())
        self.owed[key] = min(lane, self.owed.get(key, lane))

    @precondition(lambda self: self.owed.keys() - self.working)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(self.queue.get())
        assert key not in self.working
        del self.owed[key]
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))

        async def finish() -> None:
            self.queue.done(key)

        self.loop.run_until_complete(finish())
        self.working.discard(key)

    @rule()
    def another_leads_for_a_while(self) -> None:
        self.queue.close()
        self.queue.add("a")
        self.queue.open()
        self.owed.clear()

    @invariant()
    def what_is_owed_waits_in_the_right_lane(self) -> None:
        for lane in Lane:
            waiting = {key for key, owed in self.owed.items() if owed is lane and key not in self.working}
            assert self.queue.depth(lane) == len(waiting)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
