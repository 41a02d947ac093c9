"""Questions to the journal: its ordered feed, and the catalog of intents. Read-only."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import apsw

from conductor_loop.adapters.journal.data_keys import unlock
from conductor_loop.adapters.journal.database import FILE_NAME, open_for_reading, to_microseconds
from conductor_loop.adapters.journal.integrity import faults_after
from conductor_loop.adapters.journal.opening import (
    UNREADABLE,
    Damage,
    Opener,
    Row,
    unreadable,
)
from conductor_loop.adapters.journal.rows import IS_NEWEST, file_key, name_key, target_key
from conductor_loop.adapters.journal.sealing import Sealer, Vault
from conductor_loop.adapters.journal.told import GOING, STILL_THERE, named_in
from conductor_loop.core.events import Noticed
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Known, Pause, Summary, Unfinished
from conductor_loop.core.states import State

_ENTRY_COLUMNS = """
SELECT e.seq, e.at, e.event, e.intent, i.id, i.facts, i.received_at, i.size, i.retry_of
FROM events e LEFT JOIN intents i ON i.seq = e.intent"""
# What was set aside is not told to anybody: it cannot be believed.
_NOT_ASIDE = "coalesce(e.intent, e.seq) NOT IN (SELECT seq FROM damaged)"
_AFTER = f"{_ENTRY_COLUMNS} WHERE e.seq > ? AND {_NOT_ASIDE} ORDER BY e.seq LIMIT ?"
_SERVICE_AFTER = (
    f"{_ENTRY_COLUMNS} WHERE e.seq > ? AND e.intent IS NULL AND {_NOT_ASIDE} ORDER BY e.seq LIMIT ?"
)
_ALL_AFTER = f"{_ENTRY_COLUMNS} WHERE e.seq > ? ORDER BY e.seq LIMIT ?"
_ASIDE = "SELECT seq FROM damaged"
_HISTORY = (
    _ENTRY_COLUMNS + " WHERE e.intent = (SELECT seq FROM intents WHERE id = ?) ORDER BY e.seq"
)
_SERVICE = f"{_ENTRY_COLUMNS} WHERE e.intent IS NULL ORDER BY e.seq"
_PARKED = "SELECT seq, why FROM parked ORDER BY seq"
_ENTRY = f"{_ENTRY_COLUMNS} WHERE e.seq = ? AND {_NOT_ASIDE}"
_SERVICE_BACKWARDS = (
    f"{_ENTRY_COLUMNS} WHERE e.intent IS NULL AND {_NOT_ASIDE} ORDER BY e.seq DESC LIMIT ? OFFSET ?"
)
_AT_ONCE = 200
_LOOKED_AT = 20
_DAMAGED = """
SELECT d.seq, i.id, d.why, d.at FROM damaged d LEFT JOIN intents i USING (seq) ORDER BY d.seq"""
# What is filed has its verdict; what only an alert tells of is no intent.
_UNJUDGED = "SELECT count(*) FROM damaged JOIN intents USING (seq) WHERE filed IS NULL"
_POSITION = "SELECT seq FROM relay"
LAST_SEQ = "SELECT max(coalesce((SELECT max(seq) FROM events), 0), (SELECT seq FROM relay))"
_NEWEST = """
SELECT seq, id, facts, state, filed FROM intents
WHERE target_key = ? AND state NOT IN ('rejected', 'quarantined', 'duplicate')
ORDER BY seq DESC LIMIT 1"""
_ANY_IMPORTED = "SELECT 1 FROM imported LIMIT 1"
_ALL_IMPORTED = "SELECT file_key, file, processed_at FROM imported ORDER BY processed_at"
_IMPORTED = "SELECT 1 FROM imported WHERE file_key = ?"
_UNFINISHED = """
SELECT id, seq, facts, priority, received_at, state, runs, failures, crashes, timeout, not_before,
  size
FROM intents
WHERE final_at IS NULL AND seq NOT IN (SELECT seq FROM damaged) ORDER BY seq"""
_FINALS = """
SELECT i.seq, i.id, max(e.seq) FROM intents i JOIN events e ON e.intent = i.seq
WHERE i.seq > ? AND i.final_at IS NOT NULL AND i.seq NOT IN (SELECT seq FROM damaged)
GROUP BY i.seq ORDER BY i.seq LIMIT ?"""
_KNOWN = "SELECT 1 FROM intents WHERE id = ?"
_STATE = "SELECT state FROM intents WHERE id = ?"
_NOT_RETRIED = "NOT EXISTS (SELECT 1 FROM intents later WHERE later.retry_of = intents.id)"
_BODIES = """
SELECT i.id, i.body FROM json_each(?) asked JOIN intents i ON i.id = asked.value
WHERE i.body IS NOT NULL"""
_BODY = "SELECT body FROM intents WHERE id = ?"
# Duplicates leave the verdict of the first alone, so they neither precede nor succeed anybody.
_PREDECESSOR = """
SELECT id FROM intents WHERE name_key = ?1 AND state <> 'duplicate'
  AND seq < (SELECT seq FROM intents WHERE id = ?2) ORDER BY seq DESC LIMIT 1"""
_SUCCESSOR = """
SELECT id FROM intents WHERE name_key = ?1 AND state <> 'duplicate'
  AND seq > (SELECT seq FROM intents WHERE id = ?2) ORDER BY seq LIMIT 1"""
_OVERTAKEN = """
SELECT i.id FROM json_each(?) asked JOIN intents i ON i.id = asked.value
WHERE EXISTS (
  SELECT 1 FROM intents later
  WHERE later.name_key = i.name_key AND later.seq > i.seq AND later.state <> 'duplicate')"""
_SUMMARY_COLUMNS = """
SELECT id, seq, facts, size, priority, state, received_at, final_at, runs, failures, crashes,
  not_before, retry_of, filed, seq IN (SELECT seq FROM damaged)
FROM intents"""
_PAUSES = "SELECT target_key, pause, at FROM pauses"
_FACT = "SELECT value FROM facts WHERE key = ?"


class JournalReader:
    """`ports.Catalog`, the reading half of `ports.Feed`, and what commands ask."""

    def __init__(self, connection: apsw.Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._opener = Opener(sealer)
        self._sealer = sealer
        self._may_have_imported = True

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def last_seq(self) -> int:
        """The highest seq ever given out."""
        return int(str(self._value(LAST_SEQ)))

    def position(self) -> int:
        """See `ports.Feed`."""
        return int(str(self._value(_POSITION)))

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `ports.Feed`."""
        return [self._opener.entry(row) for row in self._rows(_AFTER, (seq, limit))]

    def of_service(self, seq: int, limit: int) -> Sequence[Entry]:
        """The next entries that are about no intent, oldest first; the others cost hardly more
        than their number."""
        return [self._opener.entry(row) for row in self._rows(_SERVICE_AFTER, (seq, limit))]

    def finals_after(self, seq: int, limit: int) -> Sequence[tuple[int, str, int]]:
        """The next final intents whose history is kept: seq, id, and seq of their last entry."""
        return [(row[0], row[1], row[2]) for row in self._rows(_FINALS, (seq, limit))]

    def trusted_after(self, seq: int, limit: int) -> tuple[int, Sequence[Entry], int]:
        """As `after`, for a view that may have gaps: what cannot be trusted is passed over.

        Returns the seq of the last row, the entries, and how many rows were passed over. Raises
        JournalDamaged when the file cannot be read at all.
        """
        aside = {row[0] for row in self._rows(_ASIDE)}
        entries: list[Entry] = []
        passed_over = 0
        for row in list(self._rows(_ALL_AFTER, (seq, limit))):
            seq, intent = row[0], row[3]
            entry = None if (intent or seq) in aside else self._trusted(row)
            if entry is None:
                passed_over += 1
            else:
                entries.append(entry)
        return seq, entries, passed_over

    def _trusted(self, row: Row) -> Entry | None:
        try:
            return self._opener.entry(row)
        except JournalDamaged:
            return None

    @property
    def is_sealed(self) -> bool:
        """Whether the journal has keys of its own, and so is sealed."""
        return isinstance(self._sealer, Vault)

    def newest_notice(self, code: str) -> tuple[datetime, Noticed] | None:
        """The newest notice of that code, and when. Raises JournalDamaged when what comes after
        it cannot be read: it might be a newer one."""
        offset = 0
        while rows := list(self._rows(_SERVICE_BACKWARDS, (_AT_ONCE, offset))):
            for entry in map(self._opener.entry, rows):
                if isinstance(entry.event, Noticed) and entry.event.code == code:
                    return entry.at, entry.event
            offset += len(rows)
        return None

    def parked(self) -> Sequence[tuple[Entry, str]]:
        """See `ports.Feed`."""
        return [
            (self._opener.entry(row), self._opener.parked(seq, why))
            for seq, why in list(self._rows(_PARKED))
            for row in self._rows(_ENTRY, (seq,))
        ]

    def newest(self, target: Target) -> Known | None:
        """See `ports.Catalog`."""
        for row in self._rows(_NEWEST, (target_key(self._sealer, target),)):
            return self._opener.known(row)
        return None

    def imported(self, name: bytes, digest: str) -> bool:
        """See `ports.Catalog`."""
        if not self._may_have_imported:
            return False
        return self._value(_IMPORTED, (file_key(self._sealer, name, digest),)) is not None

    def imported_files(self) -> Sequence[tuple[bytes, str, datetime]]:
        """Name, digest and moment of every file that the original had processed."""
        return [self._opener.imported(row) for row in self._rows(_ALL_IMPORTED)]

    def look_for_imported(self) -> None:
        """Spare `imported` its question while there is nothing; the one writer knows when."""
        self._may_have_imported = self._value(_ANY_IMPORTED) is not None

    def unfinished(self) -> Sequence[Unfinished]:
        """See `ports.Catalog`."""
        return [self._opener.unfinished(row) for row in self._rows(_UNFINISHED)]

    def known_ids(self, ids: Collection[str]) -> set[str]:
        """See `ports.Catalog`."""
        return {i for i in ids if self._value(_KNOWN, (i,)) is not None}

    def history(self, intent_id: str) -> Sequence[Entry]:
        """See `ports.Catalog`."""
        return [self._opener.entry(row) for row in self._rows(_HISTORY, (intent_id,))]

    def noticed_of(self, intent_id: str) -> Sequence[Entry]:
        """What was noticed of an intent, oldest first, also when the intent itself is gone."""
        entries = filter(None, map(self._trusted, list(self._rows(_SERVICE))))
        return [
            entry
            for entry in entries
            if isinstance(entry.event, Noticed) and entry.event.subject == intent_id
        ]

    def predecessor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""
        return self._id(_PREDECESSOR, (name_key(self._sealer, name), intent_id))

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""
        return self._id(_SUCCESSOR, (name_key(self._sealer, name), intent_id))

    def overtaken(self, intent_ids: Sequence[str]) -> set[str]:
        """See `ports.Catalog`."""
        return {row[0] for row in self._rows(_OVERTAKEN, (json.dumps(intent_ids),))}

    def body(self, intent_id: str) -> bytes:
        """The bytes of an intent. Raises KeyError when they are not kept (any more)."""
        value = self._value(_BODY, (intent_id,))
        if not isinstance(value, bytes):
            raise KeyError(intent_id)
        return self._opener.body(intent_id, value)

    def bodies(self, intent_ids: Sequence[str]) -> Sequence[tuple[str, bytes]]:
        """The bytes of several intents, in the order asked. Raises KeyError as `body` does."""
        if not intent_ids:
            return []
        found: dict[str, bytes] = dict(self._rows(_BODIES, (json.dumps(intent_ids),)))
        return [(each, self._opener.body(each, found[each])) for each in intent_ids]

    def state(self, intent_id: str) -> State:
        """See `ports.Catalog`."""
        value = self._value(_STATE, (intent_id,))
        return State.NEW if value is None else State(str(value))

    def retried_as(self, intent_id: str) -> Summary | None:
        """The newest intent that was made from this one; None when it was not retried."""
        clause = " WHERE retry_of = ? ORDER BY seq DESC LIMIT 1"
        return next(self._summaries(clause, (intent_id,)), None)

    def pauses(self) -> Sequence[Pause]:
        """See `ports.Catalog`."""
        pauses = [self._opener.pause(row) for row in self._rows(_PAUSES)]
        return sorted(pauses, key=lambda pause: pause.target)

    def damaged(self) -> Sequence[Damage]:
        """What was set aside because it cannot be trusted, oldest first."""
        return [Damage(*row) for row in self._rows(_DAMAGED)]

    def count_set_aside(self) -> int:
        """How many intents were set aside before they got a verdict."""
        return int(str(self._value(_UNJUDGED)))

    def faults_after(self, seq: int) -> tuple[int, list[tuple[int, str, str]]]:
        """Hold the next few intents against their events: where to go on (0: at the end), and
        seq, id and fault of those that cannot be trusted."""
        try:
            with self._connection:  # one moment for rows and events
                next_seq, faults = faults_after(self._connection, self._opener, seq, _LOOKED_AT)
        except UNREADABLE as error:
            raise unreadable(error) from error
        return next_seq, faults

    def fact(self, key: str) -> str | None:
        """A small fact about this journal."""
        value = self._value(_FACT, (key,))
        return None if value is None else str(value)

    def summary(self, intent_id: str) -> Summary | None:
        """One intent by id."""
        return next(self._summaries(" WHERE id = ?", (intent_id,)), None)

    def summaries_of(self, name: bytes) -> Sequence[Summary]:
        """Every intent that was handed over under a name, newest first."""
        clause = " WHERE name_key = ? ORDER BY seq DESC"
        return list(self._summaries(clause, (name_key(self._sealer, name),)))

    def newest_by_name(self, name: bytes) -> Summary | None:
        """The intent that a name means: the newest that is no duplicate, else the newest.

        A duplicate was never run, so it hides nothing of the one that it repeats.
        """
        clause = " WHERE name_key = ? ORDER BY state = 'duplicate', seq DESC LIMIT 1"
        return next(self._summaries(clause, (name_key(self._sealer, name),)), None)

    def summaries(
        self,
        *,
        states: Collection[State] = (),
        target: Target | None = None,
        since: datetime | None = None,
        unretried: bool = False,
        limit: int = 100,
    ) -> Sequence[Summary]:
        """The newest intents that match, newest first; `unretried`: none that was retried."""
        where: list[str] = []
        bindings: list[apsw.SQLiteValue] = []
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            bindings += [state.value for state in states]
        if target is not None:
            where.append("target_key = ?")
            bindings.append(target_key(self._sealer, target))
        if since is not None:
            where.append("received_at >= ?")
            bindings.append(to_microseconds(since))
        if unretried:
            where.append(_NOT_RETRIED)
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
          AND seq NOT IN (SELECT seq FROM damaged)
        ORDER BY final_at LIMIT ?"""
        bindings = (to_microseconds(cutoff), *(state.value for state in states), limit)
        return list(self._summaries(clause, bindings))

    def told_to_go(self) -> tuple[int, Sequence[Summary]]:
        """See `ports.Catalog`."""
        seq = int(self.fact(GOING) or 0)
        ids = named_in(self._opener.entry(row) for row in self._rows(_ENTRY, (seq,)))
        return seq, list(self._summaries(STILL_THERE, (json.dumps(ids),)))

    def filed_after(self, seq: int, limit: int) -> Sequence[Summary]:
        """The next intents that have a verdict and are not tidied away, in journal order."""
        clause = """
        WHERE seq > ? AND filed IS NOT NULL AND filed <> 'gone' AND state <> 'duplicate'
        ORDER BY seq LIMIT ?"""
        return list(self._summaries(clause, (seq, limit)))

    def counts(self) -> dict[State, int]:
        """How many intents stand in each state."""
        rows = self._rows("SELECT state, count(*) FROM intents GROUP BY state")
        return {State(state): count for state, count in rows}

    def _summaries(self, clause: str, bindings: tuple[apsw.SQLiteValue, ...]) -> Iterator[Summary]:
        return map(self._opener.summary, self._rows(_SUMMARY_COLUMNS + clause, bindings))

    def _id(self, query: str, bindings: tuple[apsw.SQLiteValue, ...]) -> str | None:
        value = self._value(query, bindings)
        return None if value is None else str(value)

    def _value(
        self, query: str, bindings: tuple[apsw.SQLiteValue, ...] = ()
    ) -> apsw.SQLiteValue | None:
        for row in self._rows(query, bindings):
            value: apsw.SQLiteValue = row[0]
            return value
        return None

    def _rows(self, query: str, bindings: tuple[apsw.SQLiteValue, ...] = ()) -> Iterator[Row]:
        try:
            yield from self._connection.execute(query, bindings)
        except UNREADABLE as error:
            raise unreadable(error) from error


def open_reader(
    state_dir: Path, kek_file: Path | None = None, *, leaves_no_trace: bool = False
) -> JournalReader:
    """Open the journal of a state dir for questions. Raises CannotStart when there is none.

    `leaves_no_trace` as in `open_for_reading`.
    """
    connection = open_for_reading(state_dir / FILE_NAME, leaves_no_trace=leaves_no_trace)
    try:
        return JournalReader(connection, unlock(connection, state_dir, kek_file))
    except UNREADABLE as error:
        connection.close()
        raise unreadable(error) from error
    except BaseException:
        connection.close()
        raise
