"""A journal with a long past, written as the daemon would have, only faster."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from conductor_loop.adapters.journal.data_keys import unlock
from conductor_loop.adapters.journal.database import FILE_NAME, open_for_writing, to_microseconds
from conductor_loop.adapters.journal.ledger import begin_count, read_count
from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.adapters.journal.rows import Statements, add_record
from conductor_loop.adapters.journal.sealing import Vault
from conductor_loop.adapters.journal.side_rows import Change
from conductor_loop.core.events import (
    Admitted,
    Event,
    Output,
    Published,
    Receipt,
    Run,
    Started,
)
from conductor_loop.core.identity import ulid
from conductor_loop.core.places import Place
from conductor_loop.core.records import Record

_EVENTS_EACH = 3
_TARGETS = 1_000
_AT_ONCE = 10_000
# Recent enough that nothing is due to be forgotten (-retention, 168h).
_AGE, _SPAN = timedelta(days=5), timedelta(days=4)


def fill_journal(handoff: Path, finished: int) -> None:
    """Add so many finished intents to the fresh journal of a handoff whose daemon is down."""
    state = handoff / ".conductor"
    connection = open_for_writing(state / FILE_NAME)
    sealer = unlock(connection, state, None)
    connection.execute("PRAGMA synchronous = OFF")
    begin = datetime.now(UTC) - _AGE
    # A daemon that only started and stopped has told so.
    before = JournalReader(connection, sealer).last_seq()
    for first in range(0, finished, _AT_ONCE):
        statements = Statements(sealer)
        for number in range(first, min(first + _AT_ONCE, finished)):
            seq = before + number * _EVENTS_EACH + 1
            _add(statements, number, seq, begin + _SPAN * number / finished)
        with connection:
            statements.execute(connection, Change())
    connection.execute("UPDATE intents SET filed = ?", (Place.PROCESSED.value,))
    connection.execute("UPDATE relay SET seq = ?", (before + finished * _EVENTS_EACH,))
    if isinstance(sealer, Vault):
        with connection:
            begin_count(connection, sealer, read_count(connection, sealer).commits)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _add(statements: Statements, number: int, first: int, moment: datetime) -> None:
    at, live = to_microseconds(moment), None
    intent_id = ulid(at // 1_000, number)
    for seq, event in enumerate(_story(number, moment), first):
        live = add_record(statements, Record(intent_id, event), live, seq, at)


def _name(number: int) -> str:
    return f"intent-past-{number:07d}.json"


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _story(number: int, moment: datetime) -> tuple[Event, ...]:
    target = f"past-{number % _TARGETS:04d}"
    receipt = Receipt(_name(number).encode(), moment, 200, _digest(number), "bench")
    run = Run(1, 0, moment, timedelta(milliseconds=2))
    outputs = (Output(f"oran-sim/{target}/scaling-patch.yaml", _digest(number)),)
    return (
        Admitted(receipt, "oran-sim", target, 5, f"past-{number:07d}"),
        Started(1),
        Published(run, outputs),
    )
