"""Anomalies: listens to what is relayed, and reports what is out of the ordinary."""

from __future__ import annotations

from conductor_loop.core.detection.restraint import Restraint
from conductor_loop.core.detection.signals import Signals
from conductor_loop.core.detection.streams import Streams
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry
from conductor_loop.ports import Clock, Notices

_MINUTE = 60
# A prankster's 100,000 symlinks are one story; the journal need not tell it 100,000 times.
_MOST_NOTICES, _SPAN_SECONDS = 20, 1800.0
# Well above what NTP corrects without a step (ntpd: 128 ms) and what scheduling delays.
_STEP_SECONDS = 5.0


class Anomalies:
    """`ports.Listener`: signals, bursts and steps of the clock, told as notices."""

    def __init__(self, notices: Notices, clock: Clock) -> None:
        self._notices, self._clock = notices, clock
        self._signals = Signals()
        self._streams = Streams(int(clock.steady()) // _MINUTE)
        self._restraint = Restraint(_MOST_NOTICES, _SPAN_SECONDS)
        self._apart = self._wall_less_steady()

    def hear(self, entry: Entry) -> None:
        """See `ports.Listener`."""
        self._look_at_clock()
        for code, details in self._signals.of(entry.event):
            self._tell(code, _subject(entry), _submitter(entry), {**_intent(entry), **details})
        if entry.intent_id is None:
            return
        for code, subject, burst in self._streams.count(entry.event, self._minute_of(entry)):
            self._tell(code, subject, "", burst.details())

    def _tell(self, code: str, subject: str, by: str, details: dict[str, str]) -> None:
        if not self._restraint.passes(code, self._clock.steady()):
            return
        held_back = self._restraint.take_held_back(code)
        if held_back:
            details["not_told_before"] = str(held_back)
        self._notices.report(code, subject, by=by, **details)

    def _minute_of(self, entry: Entry) -> int:
        """When it was journalled, on the steady clock: views may lag, and walls step."""
        lag = (self._clock.now() - entry.at).total_seconds()
        return int(self._clock.steady() - max(0.0, lag)) // _MINUTE

    def _look_at_clock(self) -> None:
        before, self._apart = self._apart, self._wall_less_steady()
        step = self._apart - before
        if abs(step) >= _STEP_SECONDS:
            self._tell("clock_stepped", "", "", {"seconds": f"{step:+.1f}"})

    def _wall_less_steady(self) -> float:
        return self._clock.now().timestamp() - self._clock.steady()


def _intent(entry: Entry) -> dict[str, str]:
    """What every log line about an intent carries, besides its name."""
    known = {"intent_id": entry.intent_id or "", "correlation_id": entry.correlation_id}
    return {name: text for name, text in known.items() if text}


def _subject(entry: Entry) -> str:
    return "" if entry.receipt is None else shown(entry.receipt.name)


def _submitter(entry: Entry) -> str:
    return "" if entry.receipt is None else entry.receipt.submitted_by
