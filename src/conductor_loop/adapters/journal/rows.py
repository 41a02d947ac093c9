"""How events become rows: which statements one record means. Pure but for the SQL it names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import groupby

import apsw
import msgspec
from msgspec.structs import replace

from conductor_loop.adapters.journal.database import to_microseconds
from conductor_loop.adapters.journal.sealing import (
    Facts,
    Sealer,
    body_place,
    decode_facts,
    encode_facts,
    event_place,
    facts_place,
    keyed_place,
)
from conductor_loop.adapters.journal.side_rows import (
    PAUSE,
    RESUME,
    TAKE_BACK,
    UNPARK,
    Bindings,
    Change,
    write_beside,
)
from conductor_loop.adapters.journal.told import begin_to_go, shrink_told
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    HandedBack,
    Paused,
    Quarantined,
    Rejected,
    Resumed,
    RetryScheduled,
    Started,
    Tidied,
    encode,
)
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Record
from conductor_loop.core.states import FINAL, RETRIABLE, IllegalTransition, State, evolve

Arrived = Admitted | Rejected | Quarantined | Duplicated

_INSERT_INTENT = """
INSERT INTO intents (seq, id, name_key, target_key, facts, size, received_at, priority, timeout,
  retry_of, state, final_at, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_INTENTS = """
UPDATE intents SET state = ?, runs = ?, failures = ?, crashes = ?, not_before = ?
WHERE seq IN (SELECT value FROM json_each(?))"""
_END_INTENTS = """
UPDATE intents SET state = ?, final_at = ? WHERE seq IN (SELECT value FROM json_each(?))"""
_END_INTENTS_AND_DROP_BODIES = """
UPDATE intents SET state = ?, final_at = ?, body = NULL
WHERE seq IN (SELECT value FROM json_each(?))"""
_FILE_INTENTS = "UPDATE intents SET filed = ? WHERE id IN (SELECT value FROM json_each(?))"
_INSERT_EVENT = "INSERT INTO events (seq, intent, at, event) VALUES (?, ?, ?, ?)"
_ROWS_AT_ONCE = 16
_FINAL_AT = 11
"""Where `_INSERT_INTENT` binds final_at."""
IS_NEWEST = """
state NOT IN ('rejected', 'quarantined', 'duplicate') AND NOT EXISTS (
  SELECT 1 FROM intents newer
  WHERE newer.target_key = intents.target_key
    AND newer.state NOT IN ('rejected', 'quarantined', 'duplicate') AND newer.seq > intents.seq)"""
"""Whether a row of `intents` is the newest admitted one of its target."""
_FORGOTTEN = f"SELECT seq, facts, state, ({IS_NEWEST}) FROM intents WHERE id = ?"
_IS_ASIDE = "SELECT count(*) FROM damaged WHERE seq = ?"
_EVENTS_OF = "intent = ?1 OR (intent IS NULL AND seq = ?1)"
_IS_OPEN = "SELECT final_at IS NULL FROM intents WHERE seq = ?"
_PARKED_FOR_NOTHING = "SELECT seq FROM parked WHERE seq NOT IN (SELECT seq FROM events)"
_KEEP_BARE = "UPDATE intents SET filed = 'gone', body = NULL, facts = ? WHERE seq = ?"
_LIVE = """
SELECT id, seq, state, runs, failures, crashes FROM intents
WHERE final_at IS NULL AND seq NOT IN (SELECT seq FROM damaged) ORDER BY seq"""


class LiveIntent(msgspec.Struct, frozen=True):
    """What the writer must know of an unfinished intent to evolve it without reading."""

    seq: int
    state: State
    runs: int = 0
    failures: int = 0
    crashes: int = 0


def filed_rows(filed: Iterable[tuple[str, str]]) -> list[Bindings]:
    """Ids and places as `Statements.filed` has them."""
    return [(place, intent_id) for intent_id, place in filed]


@dataclass(slots=True)
class Statements:
    """What one commit writes, grouped so that each statement is prepared once.

    Intents are inserted before they are updated; nothing else depends on order.
    """

    sealer: Sealer
    inserts: list[Bindings] = field(default_factory=list)
    updates: list[Bindings] = field(default_factory=list)
    ends: list[Bindings] = field(default_factory=list)
    ends_without_body: list[Bindings] = field(default_factory=list)
    events: list[Bindings] = field(default_factory=list)
    filed: list[Bindings] = field(default_factory=list)
    """Places and ids of intents whose files are there now."""
    others: list[tuple[str, Bindings]] = field(default_factory=list)
    forgets: list[str] = field(default_factory=list)
    """Ids of intents of which everything goes that need not stay."""
    told_by: list[int] = field(default_factory=list)
    """Seqs of the events that told of these."""
    discards: list[int] = field(default_factory=list)
    """Seqs of intents, and entries of none, that were set aside and of which everything goes."""

    def execute(self, connection: apsw.Connection, change: Change) -> None:
        """Run them inside the caller's transaction, and add up what it changes."""
        change.events += len(self.events)
        change.arrived += [seq for seq, *_ in self.inserts]  # type: ignore[misc] # STRICT
        change.unfinished += sum(row[_FINAL_AT] is None for row in self.inserts)
        change.unfinished -= len(self.ends) + len(self.ends_without_body)
        _insert(connection, _INSERT_INTENT, self.inserts)
        _update(connection, _UPDATE_INTENTS, self.updates)
        _update(connection, _END_INTENTS, self.ends)
        _update(connection, _END_INTENTS_AND_DROP_BODIES, self.ends_without_body)
        _insert(connection, _INSERT_EVENT, self.events)
        _update(connection, _FILE_INTENTS, self.filed)
        for statement, bindings in self.others:
            write_beside(connection, statement, bindings, change)
        for intent_id in self.forgets:
            _forget(connection, self.sealer, intent_id, change)
        if self.told_by:
            shrink_told(connection, self.sealer, self.told_by, change)
        for seq in self.discards:
            _discard(connection, seq, change)


# Each call of SQLite gives up the interpreter lock and has to get it back, from an event loop that
# is busy: few long calls instead of many short ones keep the two threads out of each other's way.


def _insert(connection: apsw.Connection, statement: str, rows: Sequence[Bindings]) -> None:
    whole = len(rows) - len(rows) % _ROWS_AT_ONCE
    for start in range(0, whole, _ROWS_AT_ONCE):
        values = [value for row in rows[start : start + _ROWS_AT_ONCE] for value in row]
        connection.execute(_several(statement), values)
    if whole < len(rows):
        connection.executemany(statement, rows[whole:])


@cache
def _several(insert: str) -> str:
    head, row = insert.rsplit("VALUES ", 1)
    return f"{head}VALUES {', '.join([row] * _ROWS_AT_ONCE)}"


def _update(connection: apsw.Connection, statement: str, rows: Sequence[Bindings]) -> None:
    """Rows that have all but their last value, the key, in common take one statement together."""
    for values, same in groupby(rows, lambda row: row[:-1]):
        connection.execute(statement, (*values, json.dumps([row[-1] for row in same])))


def _forget(connection: apsw.Connection, sealer: Sealer, intent_id: str, change: Change) -> None:
    """Of the newest admitted intent of a target the bare row stays: duplicates are told by it."""
    found = connection.execute(_FORGOTTEN, (intent_id,)).fetchone()
    if found is None:
        return
    seq, stored, state, is_newest = found
    connection.execute("DELETE FROM events WHERE intent = ?", (seq,))
    change.events -= connection.changes()
    if not is_newest:
        connection.execute("DELETE FROM intents WHERE seq = ?", (seq,))
        change.departed.append(seq)
        return
    place = facts_place(seq, intent_id)
    facts = replace(decode_facts(sealer.open(place, stored)), kept=state)
    connection.execute(_KEEP_BARE, (sealer.seal(place, encode_facts(facts)), seq))


def _discard(connection: apsw.Connection, seq: int, change: Change) -> None:
    """Drop an intent, or an entry of none, that was set aside, whatever its row has become."""
    if not connection.execute(_IS_ASIDE, (seq,)).get:
        return
    connection.execute(f"DELETE FROM events WHERE {_EVENTS_OF}", (seq,))
    change.events -= connection.changes()
    for parked in connection.execute(_PARKED_FOR_NOTHING).fetchall():
        write_beside(connection, UNPARK, parked, change)
    write_beside(connection, TAKE_BACK, (seq,), change)
    is_open = connection.execute(_IS_OPEN, (seq,)).get
    if is_open is None:
        return
    connection.execute("DELETE FROM intents WHERE seq = ?", (seq,))
    change.departed.append(seq)
    change.unfinished -= is_open


def live_intents(connection: apsw.Connection) -> dict[str, LiveIntent]:
    """Everything unfinished, by id."""
    return {
        str(intent_id): LiveIntent(seq, State(state), runs, failures, crashes)
        for intent_id, seq, state, runs, failures, crashes in connection.execute(_LIVE)
    }


def keys_of(sealer: Sealer, facts: Facts) -> tuple[bytes, bytes]:
    """What an intent with these facts is looked up by: its name's key and its target's."""
    target = Target(facts.namespace, facts.target)
    return name_key(sealer, facts.name), target_key(sealer, target)


def target_key(sealer: Sealer, target: Target) -> bytes:
    """What the intents of a target are looked up by."""
    return sealer.blind(b"target", b"/".join((target.namespace.encode(), target.name.encode())))


def name_key(sealer: Sealer, name: bytes) -> bytes:
    """What the intents of a file name are looked up by."""
    return sealer.blind(b"name", name)


def file_key(sealer: Sealer, name: bytes, digest: str) -> bytes:
    """What a file that the original had processed is looked up by."""
    return sealer.blind(b"file", b"/".join((digest.encode(), name)))


def pause_key(sealer: Sealer, target: str) -> bytes:
    """What a pause is looked up by."""
    return sealer.blind(b"pause", target.encode())


def add_record(
    statements: Statements, record: Record, live: LiveIntent | None, seq: int, at: int
) -> LiveIntent | None:
    """Add what one record means; return the intent as it is afterwards (None: no intent).

    Raises IllegalTransition.
    """
    event, sealer = record.event, statements.sealer
    intent = seq if isinstance(event, Arrived) else (live.seq if live else None)
    sealed = sealer.seal(event_place(seq, intent, at), encode(event))
    statements.events.append((seq, intent, at, sealed))
    if record.intent_id is None:
        _add_service_event(statements, event, seq, at)
        return None
    if isinstance(event, Arrived):
        if live is not None:
            raise IllegalTransition(f"{type(event).__name__} for {record.intent_id}, known already")
        return _add_arrival(statements, record.intent_id, event, record.body, seq, at)
    if live is None:
        raise IllegalTransition(f"{type(event).__name__} for {record.intent_id}, not unfinished")
    return _add_change(statements, event, live, at)


def _add_arrival(
    statements: Statements, intent_id: str, event: Arrived, body: bytes | None, seq: int, at: int
) -> LiveIntent:
    receipt, state, sealer = event.receipt, evolve(State.NEW, event), statements.sealer
    facts = facts_of(event)
    admitted = event if isinstance(event, Admitted) else None
    kept = body if admitted or state in RETRIABLE else None
    statements.inserts.append(
        (
            seq,
            intent_id,
            name_key(sealer, receipt.name),
            target_key(sealer, Target(facts.namespace, facts.target)),
            sealer.seal(facts_place(seq, intent_id), encode_facts(facts)),
            receipt.size,
            to_microseconds(receipt.received_at),
            admitted.priority if admitted else 0,
            _microseconds(admitted.timeout) if admitted else None,
            admitted.retry_of if admitted else None,
            state.value,
            None if admitted else at,
            None if kept is None else sealer.seal(body_place(intent_id), kept),
        )
    )
    return LiveIntent(seq, state)


def facts_of(event: Arrived) -> Facts:
    """What is private about an intent, as its first event tells it."""
    receipt = event.receipt
    named = (receipt.name, receipt.digest, receipt.submitted_by)
    if isinstance(event, Quarantined):
        return Facts(*named, "", "", "")
    return Facts(*named, event.namespace, event.target, event.correlation_id)


def _add_change(statements: Statements, event: Event, live: LiveIntent, at: int) -> LiveIntent:
    assert not isinstance(event, Paused | Resumed)
    after = _count(replace(live, state=evolve(live.state, event)), event)  # type: ignore[arg-type]
    if after.state in FINAL:
        # What can be retried keeps its bytes as long as its row.
        rows = statements.ends if after.state in RETRIABLE else statements.ends_without_body
        rows.append((after.state.value, at, live.seq))
        return after
    not_before = event.not_before if isinstance(event, RetryScheduled | HandedBack) else None
    statements.updates.append(
        (
            after.state.value,
            after.runs,
            after.failures,
            after.crashes,
            to_microseconds(not_before) if not_before else None,
            live.seq,
        )
    )
    return after


def _count(live: LiveIntent, event: Event) -> LiveIntent:
    match event:
        case Started(attempt):
            return replace(live, runs=attempt)
        case RetryScheduled():
            return replace(live, failures=live.failures + 1)
        case HandedBack() if event.is_crash:
            return replace(live, crashes=live.crashes + 1)
        case _:
            return live


def _add_service_event(statements: Statements, event: Event, seq: int, at: int) -> None:
    match event:
        case Paused():
            statements.others.append((PAUSE, pause_row(statements.sealer, event, at)))
        case Resumed(target=target):
            key = pause_key(statements.sealer, target)
            statements.others.append((RESUME, (key,)))
        case Tidied():
            statements.others.append(begin_to_go(seq))
        case _:
            pass


def pause_row(sealer: Sealer, event: Paused, at: int) -> Bindings:
    """The row of a pause that began at that moment, in microseconds since 1970."""
    key = pause_key(sealer, event.target)
    told = msgspec.json.encode((event.target, event.by, event.why))
    return key, sealer.seal(keyed_place(b"pauses.pause", key), told), at


def _microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // timedelta(microseconds=1)
