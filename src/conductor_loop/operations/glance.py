"""The state of a daemon at a glance: what it says of itself, and what its journal says."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from conductor_loop.adapters.control_socket import ControlRefused, DaemonSilent, ask
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.core.control import Check, Look
from conductor_loop.core.records import Summary
from conductor_loop.core.states import FINAL, UNSUCCESSFUL, State
from conductor_loop.core.story import exact_moment, summary_json
from conductor_loop.core.traces import trace_id
from conductor_loop.core.vitals import Attempt, Vitals, decode_vitals
from conductor_loop.settings import Settings

_WINDOW_SECONDS = 60.0
# As many are looked at; above 8 a second the window is what they span.
_MOST_ENDED = 500
_MOST_SHOWN = 100
# Counting by target opens every waiting row, so a long queue is counted less often.
_ROWS_A_SECOND = 2_000


@dataclass(frozen=True, slots=True)
class Glance:
    """One look. Rates are a second, over the last minute at most; durations are seconds."""

    at: datetime
    daemon_pid: int | None
    is_silent: bool
    """A daemon is there and does not say how it is."""
    vitals: Vitals | None
    """What the daemon says; None without one."""
    succeeded: float
    failed: float
    p50: float | None
    """From hand-over to the final state, as the next one; None when nothing ended."""
    p95: float | None
    queue: Sequence[tuple[str, int]]
    """How many wait for each target, the longest first."""
    recent: Sequence[Summary]
    """What ended last, newest first."""

    @property
    def failing(self) -> Sequence[Check]:
        """The checks that keep the daemon from taking files."""
        return [check for check in self.vitals.checks if not check.ok] if self.vitals else ()

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest file or intent without a final state."""
        if self.vitals is None or self.vitals.oldest_at is None:
            return 0.0
        return max(0.0, self.vitals.at - self.vitals.oldest_at)

    def running_seconds(self, attempt: Attempt) -> float | None:
        """For how long an attempt has run; None when the daemon does not tell."""
        if self.vitals is None or attempt.started_at is None:
            return None
        return round(max(0.0, self.vitals.at - attempt.started_at), 3)

    def to_json(self, *, is_traced: bool = False) -> dict[str, object]:
        """For a script; `is_traced`: each intent has a trace."""
        vitals = self.vitals
        return {
            "at": exact_moment(self.at),
            "daemon_pid": self.daemon_pid,
            "ready": vitals is not None and not self.failing,
            "checks": [
                {"name": c.name, "ok": c.ok, "message": c.message}
                for c in (vitals.checks if vitals else ())
            ],
            "rates": {
                "succeeded_per_second": round(self.succeeded, 3),
                "failed_per_second": round(self.failed, 3),
                "p50_seconds": self.p50,
                "p95_seconds": self.p95,
            },
            "workers": vitals.workers if vitals else None,
            "waiting": vitals.waiting if vitals else sum(count for _, count in self.queue),
            "in_folder": vitals.in_folder if vitals else None,
            "oldest_seconds": round(self.oldest_seconds, 3),
            "queue": [{"target": target, "waiting": count} for target, count in self.queue],
            "running": [
                {"intent_id": r.intent_id, "intent_file": r.name, "target": r.target,
                 "trace_id": trace_id(r.intent_id) if is_traced else None, "attempt": r.attempt,
                 "started_at": _started_at(r), "running_seconds": self.running_seconds(r)}
                for r in (vitals.running if vitals else ())
            ],
            "recent": [
                {**summary_json(each), "trace_id": trace_id(each.intent_id) if is_traced else None}
                for each in self.recent
            ],
        }  # fmt: skip


class Looking:
    """Looks again and again at one state dir. Raises CannotStart when there is no journal."""

    def __init__(self, settings: Settings) -> None:
        self._state_dir = settings.state_dir
        self._reader = open_reader(settings.state_dir, settings.kek_file)
        self._queue: Sequence[tuple[str, int]] = ()
        self._due = 0.0

    def look(self) -> Glance:
        """Look now."""
        pid, vitals, is_silent = self._ask()
        now = datetime.now(UTC)
        ended = self._ended()
        rates = _rates(ended, now)
        return Glance(
            now, pid, is_silent, vitals, *rates, self._waiting(vitals), ended[:_MOST_SHOWN]
        )  # fmt: skip

    def _ask(self) -> tuple[int | None, Vitals | None, bool]:
        try:
            reply = ask(self._state_dir, Look())
        except (DaemonSilent, ControlRefused):
            return None, None, True
        if reply is None:
            return None, None, False
        said = bytes(reply.vitals)
        # An older one does not know the question.
        return (reply.pid, decode_vitals(said), False) if said else (None, None, True)

    def _ended(self) -> Sequence[Summary]:
        found = self._reader.summaries(states=FINAL, limit=_MOST_ENDED)
        return sorted(found, key=_ended_at, reverse=True)

    def _waiting(self, vitals: Vitals | None) -> Sequence[tuple[str, int]]:
        if vitals is not None and not vitals.waiting:
            return ()
        began = time.monotonic()
        if began >= self._due:
            self._queue, rows = _queue_by_target(self._reader)
            self._due = began + rows / _ROWS_A_SECOND
        return self._queue


def _started_at(attempt: Attempt) -> str | None:
    if attempt.started_at is None:
        return None
    return exact_moment(datetime.fromtimestamp(attempt.started_at, UTC))


def _queue_by_target(reader: JournalReader) -> tuple[Sequence[tuple[str, int]], int]:
    waiting = [each for each in reader.unfinished() if each.state is not State.RUNNING]
    counts = Counter(str(each.target) for each in waiting)
    return counts.most_common(_MOST_SHOWN), len(waiting)


def _rates(
    ended: Sequence[Summary], now: datetime
) -> tuple[float, float, float | None, float | None]:
    """Successes and failures a second, and two quantiles of how long they took."""
    ages = [(now - _ended_at(each)).total_seconds() for each in ended]
    recent = [each for each, age in zip(ended, ages, strict=True) if age <= _WINDOW_SECONDS]
    if not recent:
        return 0.0, 0.0, None, None
    is_cut = len(recent) == _MOST_ENDED
    window = max(ages) if is_cut else _WINDOW_SECONDS
    failed = sum(each.state in UNSUCCESSFUL for each in recent)
    took = sorted((_ended_at(each) - each.received_at).total_seconds() for each in recent)
    window = max(window, 1.0)
    return (len(recent) - failed) / window, failed / window, _at(took, 0.5), _at(took, 0.95)


def _at(values: Sequence[float], share: float) -> float:
    """The smallest of sorted values that at least this share does not exceed."""
    return values[max(0, -int(-share * len(values) // 1) - 1)]


def _ended_at(summary: Summary) -> datetime:
    return summary.final_at or summary.received_at
