"""The streams that are watched for bursts: arrivals, rejections, failures, and each submitter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from conductor_loop.core.detection.bursts import Burst, BurstPolicy, Series
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Failed,
    Quarantined,
    Receipt,
    Rejected,
    TimedOut,
)

MOST_SUBMITTERS = 64
_MORE_THAN_ARRIVALS = {
    Rejected: "rejections_unusual",
    Quarantined: "rejections_unusual",
    Failed: "failures_unusual",
    TimedOut: "failures_unusual",
}


class Streams:
    """Every series, the number of submitters bounded; minutes are of a steady clock.

    `minute` is when it began: what happened before that is not counted.
    """

    def __init__(self, minute: int, policy: BurstPolicy | None = None) -> None:
        self._policy = policy or BurstPolicy()
        self._begun = minute
        self._series: dict[str, Series] = {}
        self._submitters: OrderedDict[str, Series] = OrderedDict()
        self._has_forgotten = False

    def count(self, event: Event, minute: int) -> Iterator[tuple[str, str, Burst]]:
        """Count an event; yield (code, subject, burst) for each that it completes."""
        if minute < self._begun:
            return
        receipt = _handed_over(event)
        if receipt is not None:
            yield from self._seen("arrivals_unusual", minute)
            yield from self._submitted(receipt.submitted_by or "unknown", minute)
        code = _MORE_THAN_ARRIVALS.get(type(event))
        if code is not None:
            yield from self._seen(code, minute)

    def _seen(self, code: str, minute: int) -> Iterator[tuple[str, str, Burst]]:
        series = self._series.get(code)
        if series is None:
            # A stream that was silent so far has a past: it was silent.
            series = self._series[code] = Series(self._policy, self._begun)
        burst = series.add(minute)
        if burst is not None:
            yield code, "", burst

    def _submitted(self, submitter: str, minute: int) -> Iterator[tuple[str, str, Burst]]:
        series = self._submitters.pop(submitter, None)
        if series is None:
            # Whoever was forgotten may come back, and then nothing is known of the past.
            begun = minute if self._has_forgotten else self._begun
            series = Series(self._policy, begun)
        self._submitters[submitter] = series
        if len(self._submitters) > MOST_SUBMITTERS:
            self._submitters.popitem(last=False)
            self._has_forgotten = True
        burst = series.add(minute)
        if burst is not None:
            yield "submitter_unusual", submitter, burst


def _handed_over(event: Event) -> Receipt | None:
    """The receipt of what came as a file; a retry by an operator is no arrival."""
    if isinstance(event, Admitted):
        return None if event.retry_of else event.receipt
    return event.receipt if isinstance(event, Rejected | Quarantined | Duplicated) else None
