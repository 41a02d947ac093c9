"""What is counted for metrics: outcomes, durations, retries, alerts, since this process began."""

from __future__ import annotations

from conductor_loop.core.events import (
    Admitted,
    BreakerOpened,
    Event,
    FailureKind,
    HandedBack,
    Noticed,
    RetryScheduled,
    Run,
    TimedOut,
)
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import KINDS
from conductor_loop.core.states import ENDINGS
from conductor_loop.core.vitals import PORCH_BOUNDS, PROCESSING_BOUNDS, Counts, histogram

_OTHER = "other"


class Meters:
    """`ports.Listener`: counts what this process relayed."""

    def __init__(self) -> None:
        self.counts = Counts(histogram(PROCESSING_BOUNDS), histogram(PORCH_BOUNDS))

    def hear(self, entry: Entry) -> None:
        """See `ports.Listener`."""
        event = entry.event
        self._count(event)
        run = getattr(event, "run", None)
        if isinstance(run, Run):
            self.counts.porch.add(run.duration.total_seconds())
        state = ENDINGS.get(type(event))
        if state is None:
            return
        self.counts.ended[state.value] = self.counts.ended.get(state.value, 0) + 1
        if entry.receipt is not None:
            took = (entry.at - entry.receipt.received_at).total_seconds()
            # The wall clock may have been set back in between.
            self.counts.processing.add(max(took, 0.0))

    def _count(self, event: Event) -> None:
        counts = self.counts
        match event:
            case Admitted():
                counts.admitted += 1
            case RetryScheduled(failure=failure):
                counts.retries += 1
                counts.porch_timeouts += failure.kind is FailureKind.TIMEOUT
            case TimedOut():
                counts.porch_timeouts += 1
            case HandedBack():
                counts.handed_back += 1
            case BreakerOpened():
                counts.breaker_opened += 1
            case Noticed(code=code):
                # A journal of a newer version may hold codes that this one does not know.
                known = code if code in KINDS else _OTHER
                counts.alerts[known] = counts.alerts.get(known, 0) + 1
            case _:
                pass
