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
from conductor_loop.core.states import State

_INTENT = """
INSERT INTO intents (seq, id, name, digest, size, submitted_by, received_at, namespace, target,
  priority, correlation_id, state, runs, final_at, filed)
VALUES (?, ?, ?, ?, ?, 'bench', ?, 'oran-sim', ?, 5, ?, ?, 1, ?, ?)"""
_EVENT = "INSERT INTO events (seq, intent, at, event) VALUES (?, ?, ?, ?)"
_EVENTS_EACH = 3
_TARGETS = 1_000
_AT_ONCE = 10_000


def fill_journal(handoff: Path, finished: int) -> None:
    """Add so many finished intents to the fresh journal of a handoff whose daemon is down."""
    path = handoff / ".conductor" / FILE_NAME
    connection = open_for_writing(path)
    connection.execute("PRAGMA synchronous = OFF")
    for first in range(0, finished, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, finished))
        with connection:
            connection.executemany(_INTENT, (_intent(number) for number in numbers))
            connection.executemany(_EVENT, (row for n in numbers for row in _events(n)))
    connection.execute("UPDATE relay SET seq = ?", (finished * _EVENTS_EACH,))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _moment(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)


def _name(number: int) -> str:
    return f"intent-past-{number:07d}.json"


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _intent(number: int) -> tuple[apsw.SQLiteValue, ...]:
    at = to_microseconds(_moment(number))
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
        f"processed/{_name(number)}",
    )


def _events(number: int) -> Iterator[tuple[apsw.SQLiteValue, ...]]:
    at, target = _moment(number), f"past-{number % _TARGETS:04d}"
    receipt = Receipt(_name(number).encode(), at, 200, _digest(number), "bench")
    run = Run(1, 0, at, timedelta(milliseconds=2))
    outputs = (Output(f"oran-sim/{target}/scaling-patch.yaml", _digest(number)),)
    story: tuple[Event, ...] = (
        Admitted(receipt, "oran-sim", target, 5, f"past-{number:07d}"),
        Started(1),
        Published(run, outputs),
    )
    first = number * _EVENTS_EACH + 1
    for seq, event in enumerate(story, first):
        yield seq, first, to_microseconds(at), encode(event)
