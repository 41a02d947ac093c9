"""A journal with a long past, written as the daemon would have, only faster."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from conductor_loop.adapters.journal.database import FILE_NAME, open_for_writing, to_microseconds
from conductor_loop.core.events import (
    Admitted,
    Event,
    Output,
    Published,
    Receipt,
    Run,
    Started,
    encode,
)
from conductor_loop.core.identity import ulid
from conductor_loop.core.places import Place
from conductor_loop.core.states import State

_INTENT = """
INSERT INTO intents (seq, id, name, digest, size, submitted_by, received_at, namespace, target,
  priority, correlation_id, state, runs, final_at, filed)
VALUES (?, ?, ?, ?, ?, 'bench', ?, 'oran-sim', ?, 5, ?, ?, 1, ?, ?)"""
_EVENT = "INSERT INTO events (seq, intent, at, event) VALUES (?, ?, ?, ?)"
_EVENTS_EACH = 3
_TARGETS = 1_000
_AT_ONCE = 10_000
# Recent enough that nothing is due to be forgotten (-retention, 168h).
_AGE, _SPAN = timedelta(days=5), timedelta(days=4)


def fill_journal(handoff: Path, finished: int) -> None:
    """Add so many finished intents to the fresh journal of a handoff whose daemon is down."""
    path = handoff / ".conductor" / FILE_NAME
    connection = open_for_writing(path)
    connection.execute("PRAGMA synchronous = OFF")
    begin = datetime.now(UTC) - _AGE
    for first in range(0, finished, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, finished))
        with connection:
            past = [(number, begin + _SPAN * number / finished) for number in numbers]
            connection.executemany(_INTENT, (_intent(*each) for each in past))
            connection.executemany(_EVENT, (row for each in past for row in _events(*each)))
    connection.execute("UPDATE relay SET seq = ?", (finished * _EVENTS_EACH,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _name(number: int) -> str:
    return f"intent-past-{number:07d}.json"


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _intent(number: int, moment: datetime) -> tuple[apsw.SQLiteValue, ...]:
    at = to_microseconds(moment)
    return (
        number * _EVENTS_EACH + 1,
        ulid(at // 1_000, number),
        _name(number).encode(),
        _digest(number),
        200,
        at,
        f"past-{number % _TARGETS:04d}",
        f"past-{number:07d}",
        State.PUBLISHED.value,
        at,
        Place.PROCESSED.value,
    )


def _events(number: int, moment: datetime) -> Iterator[tuple[apsw.SQLiteValue, ...]]:
    target = f"past-{number % _TARGETS:04d}"
    receipt = Receipt(_name(number).encode(), moment, 200, _digest(number), "bench")
    run = Run(1, 0, moment, timedelta(milliseconds=2))
    outputs = (Output(f"oran-sim/{target}/scaling-patch.yaml", _digest(number)),)
    story: tuple[Event, ...] = (
        Admitted(receipt, "oran-sim", target, 5, f"past-{number:07d}"),
        Started(1),
        Published(run, outputs),
    )
    first = number * _EVENTS_EACH + 1
    for seq, event in enumerate(story, first):
        yield seq, first, to_microseconds(moment), encode(event)
