"""Following a kind of object with kubectl, beside what is measured."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from e2e.stack import Stack


class Watch:
    """Notes when each event reached a watching client, since the API keeps whole seconds only.

    An event is its type and a word for each of `columns`, paths in the object as kubectl writes them.
    """

    def __init__(self, stack: Stack, namespace: str, kind: str, *columns: str, selector: str = "") -> None:
        self.events: list[tuple[datetime, list[str]]] = []
        shown = ",".join(f"C{index}:.object.{column}" for index, column in enumerate(columns))
        self._process = stack.kubectl_process(
            *("-n", namespace, "get", kind, "-l", selector, "-w", "--output-watch-events", "--no-headers"),
            *("-o", f"custom-columns=TYPE:.type,{shown}"),
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def first(self, event: str, value: str, since: datetime) -> datetime:
        """When the first such event since a moment came; raises AssertionError when there was none."""
        for moment, words in self.events:
            if moment >= since and words == [event, value]:
                return moment
        raise AssertionError(f"no event {event} {value} since {since}")

    def stop(self) -> None:
        """End the watch."""
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.events.append((datetime.now(UTC), line.split()))
