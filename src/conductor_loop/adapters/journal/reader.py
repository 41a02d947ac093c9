"""Questions to the journal: its ordered feed, and the catalog of intents. Read-only."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import apsw

from conductor_loop.adapters.journal.database import (
    FILE_NAME,
    from_microseconds,
    open_for_reading,
    to_microseconds,
)
from conductor_loop.core.events import Receipt, decode
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Known, Summary, Unfinished
from conductor_loop.core.states import State

_ENTRY_COLUMNS = """
SELECT e.seq, e.at, e.event, i.id, i.name, i.received_at, i.size, i.digest, i.submitted_by,
  i.namespace, i.target, i.correlation_id, i.retry_of
FROM events e LEFT JOIN intents i ON i.seq = e.intent"""
_AFTER = _ENTRY_COLUMNS + " WHERE e.seq > ? ORDER BY e.seq LIMIT ?"
_HISTORY = (
    _ENTRY_COLUMNS + " WHERE e.intent = (SELECT seq FROM intents WHERE id = ?) ORDER BY e.seq"
)
_PARKED = "SELECT seq, why FROM parked ORDER BY seq"
_ENTRY = _ENTRY_COLUMNS + " WHERE e.seq = ?"
_POSITION = "SELECT seq FROM relay"
_LAST_SEQ = "SELECT max(coalesce((SELECT max(seq) FROM events), 0), (SELECT seq FROM relay))"
_NEWEST = """
SELECT id, name, digest, state, filed FROM intents
WHERE namespace = ? AND target = ? AND state NOT IN ('rejected', 'quarantined', 'duplicate')
ORDER BY seq DESC LIMIT 1"""
_ANY_IMPORTED = "SELECT 1 FROM imported LIMIT 1"
_IMPORTED = "SELECT 1 FROM imported WHERE name = ? AND digest = ?"
_UNFINISHED = """
SELECT id, seq, name, namespace, target, priority, received_at, state, runs, failures, crashes,
  timeout, not_before, correlation_id
FROM intents WHERE final_at IS NULL ORDER BY seq"""
_KNOWN = "SELECT 1 FROM intents WHERE id = ?"
_STATE = "SELECT state FROM intents WHERE id = ?"
_RETRIED = "SELECT 1 FROM intents WHERE retry_of = ?"
_BODIES = """
SELECT i.id, i.body FROM json_each(?) asked JOIN intents i ON i.id = asked.value
WHERE i.body IS NOT NULL"""
_BODY = "SELECT body FROM intents WHERE id = ?"
# Duplicates leave the verdict of the first alone, so they neither precede nor succeed anybody.
_PREDECESSOR = """
SELECT id FROM intents WHERE name = ?1 AND state <> 'duplicate'
  AND seq < (SELECT seq FROM intents WHERE id = ?2) ORDER BY seq DESC LIMIT 1"""
_SUCCESSOR = """
SELECT id FROM intents WHERE name = ?1 AND state <> 'duplicate'
  AND seq > (SELECT seq FROM intents WHERE id = ?2) ORDER BY seq LIMIT 1"""
_SUMMARY_COLUMNS = """
SELECT id, seq, name, digest, size, namespace, target, priority, state, received_at, final_at,
  runs, failures, crashes, not_before, correlation_id, submitted_by, retry_of, filed
FROM intents"""
_PAUSES = "SELECT target, by, why, at FROM pauses ORDER BY target"
_FACT = "SELECT value FROM facts WHERE key = ?"


IS_NEWEST = """
state NOT IN ('rejected', 'quarantined', 'duplicate') AND NOT EXISTS (
  SELECT 1 FROM intents newer
  WHERE newer.namespace = intents.namespace AND newer.target = intents.target
    AND newer.state NOT IN ('rejected', 'quarantined', 'duplicate') AND newer.seq > intents.seq)"""
"""Whether a row of `intents` is the newest admitted one of its target."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in force; `target` is empty for everything."""

    target: str
    by: str
    why: str
    at: datetime


class JournalReader:
    """`ports.Catalog`, the reading half of `ports.Feed`, and what commands ask."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def last_seq(self) -> int:
        """The highest seq ever given out."""
        value = self._connection.execute(_LAST_SEQ).get
        assert isinstance(value, int)
        return value

    def position(self) -> int:
        """See `ports.Feed`."""
        value = self._connection.execute(_POSITION).get
        assert isinstance(value, int)
        return value

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `ports.Feed`."""
        return [_entry(row) for row in self._connection.execute(_AFTER, (seq, limit))]

    def parked(self) -> Sequence[tuple[Entry, str]]:
        """See `ports.Feed`."""
        return [
            (_entry(row), str(why))
            for seq, why in self._connection.execute(_PARKED).fetchall()
            for row in self._connection.execute(_ENTRY, (seq,))
        ]

    def newest(self, target: Target) -> Known | None:
        """See `ports.Catalog`."""
        for intent_id, name, digest, state, filed in self._connection.execute(
            _NEWEST, tuple(target)
        ):
            return Known(intent_id, name, digest, State(state), filed == "gone")
        return None

    def imported(self, name: bytes, digest: str) -> bool:
        """See `ports.Catalog`."""
        return self._connection.execute(_IMPORTED, (name, digest)).get is not None

    def unfinished(self) -> Sequence[Unfinished]:
        """See `ports.Catalog`."""
        return [_unfinished(row) for row in self._connection.execute(_UNFINISHED)]

    def known_ids(self, ids: Collection[str]) -> set[str]:
        """See `ports.Catalog`."""
        return {i for i in ids if self._connection.execute(_KNOWN, (i,)).get is not None}

    def history(self, intent_id: str) -> Sequence[Entry]:
        """See `ports.Catalog`."""
        return [_entry(row) for row in self._connection.execute(_HISTORY, (intent_id,))]

    def predecessor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""
        return self._id(_PREDECESSOR, (name, intent_id))

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""
        return self._id(_SUCCESSOR, (name, intent_id))

    def body(self, intent_id: str) -> bytes:
        """The bytes of an intent. Raises KeyError when they are not kept (any more)."""
        value = self._connection.execute(_BODY, (intent_id,)).get
        if not isinstance(value, bytes):
            raise KeyError(intent_id)
        return value

    def bodies(self, intent_ids: Sequence[str]) -> Sequence[tuple[str, bytes]]:
        """The bytes of several intents, in the order asked. Raises KeyError as `body` does."""
        found: dict[str, bytes] = dict(self._connection.execute(_BODIES, (json.dumps(intent_ids),)))
        return [(intent_id, found[intent_id]) for intent_id in intent_ids]

    def state(self, intent_id: str) -> State:
        """See `ports.Catalog`."""
        value = self._connection.execute(_STATE, (intent_id,)).get
        return State.NEW if value is None else State(value)

    def was_retried(self, intent_id: str) -> bool:
        """Whether a later intent was made from this one."""
        return self._connection.execute(_RETRIED, (intent_id,)).get is not None

    def has_imported(self) -> bool:
        """Whether anything of the original program was imported."""
        return self._connection.execute(_ANY_IMPORTED).get is not None

    def pauses(self) -> Sequence[Pause]:
        """The pauses in force."""
        return [
            Pause(target, by, why, from_microseconds(at))
            for target, by, why, at in self._connection.execute(_PAUSES)
        ]

    def fact(self, key: str) -> str | None:
        """A small fact about this journal."""
        value = self._connection.execute(_FACT, (key,)).get
        return None if value is None else str(value)

    def summary(self, intent_id: str) -> Summary | None:
        """One intent by id."""
        return next(self._summaries(" WHERE id = ?", (intent_id,)), None)

    def summaries_of(self, name: bytes) -> Sequence[Summary]:
        """Every intent that was handed over under a name, newest first."""
        return list(self._summaries(" WHERE name = ? ORDER BY seq DESC", (name,)))

    def newest_by_name(self, name: bytes) -> tuple[str, State] | None:
        """Id and state of the newest intent that was handed over under a name."""
        for summary in self._summaries(" WHERE name = ? ORDER BY seq DESC LIMIT 1", (name,)):
            return summary.intent_id, summary.state
        return None

    def summaries(
        self,
        *,
        states: Collection[State] = (),
        target: Target | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Sequence[Summary]:
        """The newest intents that match, newest first."""
        where: list[str] = []
        bindings: list[apsw.SQLiteValue] = []
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            bindings += [state.value for state in states]
        if target is not None:
            where.append("namespace = ? AND target = ?")
            bindings += list(target)
        if since is not None:
            where.append("received_at >= ?")
            bindings.append(to_microseconds(since))
        clause = f" WHERE {' AND '.join(where)}" if where else ""
        clause += " ORDER BY seq DESC LIMIT ?"
        return list(self._summaries(clause, (*bindings, limit)))

    def final_before(
        self, cutoff: datetime, states: Collection[State], limit: int
    ) -> Sequence[Summary]:
        """See `ports.Catalog`."""
        clause = f"""
        WHERE final_at < ? AND state IN ({", ".join("?" * len(states))})
          AND filed IS NOT NULL AND NOT (filed = 'gone' AND {IS_NEWEST})
        ORDER BY final_at LIMIT ?"""
        bindings = (to_microseconds(cutoff), *(state.value for state in states), limit)
        return list(self._summaries(clause, bindings))

    def counts(self) -> dict[State, int]:
        """How many intents stand in each state."""
        rows = self._connection.execute("SELECT state, count(*) FROM intents GROUP BY state")
        return {State(state): count for state, count in rows}

    def _summaries(self, clause: str, bindings: tuple[apsw.SQLiteValue, ...]) -> Iterator[Summary]:
        for row in self._connection.execute(_SUMMARY_COLUMNS + clause, bindings):
            yield _summary(row)

    def _id(self, query: str, bindings: tuple[apsw.SQLiteValue, ...]) -> str | None:
        value = self._connection.execute(query, bindings).get
        return None if value is None else str(value)


def open_reader(state_dir: Path) -> JournalReader:
    """Open the journal of a state dir for questions. Raises CannotStart when there is none."""
    return JournalReader(open_for_reading(state_dir / FILE_NAME))


def _entry(row: tuple[apsw.SQLiteValue, ...]) -> Entry:
    seq, at, event, intent_id, name, received_at, size, digest, owner, *rest = row
    namespace, target, correlation_id, retry_of = rest
    return Entry(
        seq=seq,  # type: ignore[arg-type] # STRICT table: the column's type holds
        at=from_microseconds(at),  # type: ignore[arg-type] # STRICT table
        event=decode(event),  # type: ignore[arg-type] # STRICT table
        intent_id=intent_id,  # type: ignore[arg-type] # STRICT table
        receipt=_receipt(name, received_at, size, digest, owner),
        target=Target(str(namespace), str(target)) if target else None,
        correlation_id=str(correlation_id or ""),
        retry_of=retry_of,  # type: ignore[arg-type] # STRICT table
    )


def _receipt(*columns: apsw.SQLiteValue) -> Receipt | None:
    name, received_at, size, digest, owner = columns
    if name is None:
        return None
    assert isinstance(name, bytes)
    assert isinstance(received_at, int)
    assert isinstance(size, int)
    return Receipt(name, from_microseconds(received_at), size, str(digest), str(owner))


def _unfinished(row: tuple) -> Unfinished:  # type: ignore[type-arg] # STRICT table
    (intent_id, seq, name, namespace, target, priority, received_at, state, runs, failures,
     crashes, timeout, not_before, correlation_id) = row  # fmt: skip
    return Unfinished(
        intent_id=intent_id,
        seq=seq,
        name=name,
        target=Target(namespace, target),
        priority=priority,
        received_at=from_microseconds(received_at),
        state=State(state),
        runs=runs,
        failures=failures,
        crashes=crashes,
        timeout=None if timeout is None else timedelta(microseconds=timeout),
        not_before=None if not_before is None else from_microseconds(not_before),
        correlation_id=correlation_id,
    )


def _summary(row: tuple) -> Summary:  # type: ignore[type-arg] # STRICT table
    (intent_id, seq, name, digest, size, namespace, target, priority, state, received_at,
     final_at, runs, failures, crashes, not_before, correlation_id, submitted_by, retry_of,
     filed) = row  # fmt: skip
    return Summary(
        intent_id=intent_id,
        seq=seq,
        name=name,
        digest=digest,
        size=size,
        target=Target(namespace, target),
        priority=priority,
        state=State(state),
        received_at=from_microseconds(received_at),
        final_at=None if final_at is None else from_microseconds(final_at),
        runs=runs,
        failures=failures,
        crashes=crashes,
        not_before=None if not_before is None else from_microseconds(not_before),
        correlation_id=correlation_id,
        submitted_by=submitted_by,
        retry_of=retry_of,
        filed=filed,
    )
