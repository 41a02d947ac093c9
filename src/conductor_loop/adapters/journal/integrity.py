"""Whether what the journal holds is what was written: each intent against its own events."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from conductor_loop.adapters.journal.opening import Opener, Row
from conductor_loop.adapters.journal.rows import LiveIntent, Statements, add_record, keys_of
from conductor_loop.adapters.journal.sealing import Clear, Facts
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.records import Record
from conductor_loop.core.states import FINAL, IllegalTransition

_COLUMNS = """
SELECT seq, id, name_key, target_key, facts, size, received_at, priority, timeout, retry_of, state,
  runs, failures, crashes, not_before, final_at, body FROM intents"""
_NOT_ASIDE = "seq NOT IN (SELECT seq FROM damaged)"
_OPEN = f"{_COLUMNS} WHERE final_at IS NULL AND {_NOT_ASIDE} ORDER BY seq"
_NEXT = f"{_COLUMNS} WHERE seq > ? AND {_NOT_ASIDE} ORDER BY seq LIMIT ?"
# Of finished ones: what the views have yet to hear.
_UNHEARD = f"""{_COLUMNS} WHERE final_at IS NOT NULL AND {_NOT_ASIDE} AND seq IN (
  SELECT intent FROM events WHERE seq > (SELECT seq FROM relay)
  UNION SELECT intent FROM events WHERE seq IN (SELECT seq FROM parked)) ORDER BY seq"""
_EVENTS = "SELECT seq, at, event FROM events WHERE intent = ? ORDER BY seq"
_UNHEARD_NOTICES = f"""
SELECT seq, at, event FROM events
WHERE intent IS NULL AND seq > (SELECT seq FROM relay) AND {_NOT_ASIDE}"""
_PARKED = f"""
SELECT p.seq, p.why, coalesce(e.intent, p.seq) FROM parked p LEFT JOIN events e USING (seq)
WHERE p.{_NOT_ASIDE}"""


def faults_at_start(
    connection: apsw.Connection, opener: Opener, *, all_of_them: bool
) -> Iterator[tuple[int, str]]:
    """Seq and fault of what cannot be trusted, of all that a daemon would act on."""
    if all_of_them:
        yield from _faults(connection, opener, connection.execute(_NEXT, (0, -1)))
    else:
        yield from _faults(connection, opener, connection.execute(_OPEN))
        yield from _faults(connection, opener, connection.execute(_UNHEARD))
    for seq, at, event in connection.execute(_UNHEARD_NOTICES):
        try:
            opener.event(seq, None, at, event)
        except JournalDamaged as error:
            yield seq, error.message
    for seq, why, intent in connection.execute(_PARKED):
        try:
            opener.parked(seq, why)
        except JournalDamaged as error:
            yield intent, error.message


def faults_after(
    connection: apsw.Connection, opener: Opener, seq: int, limit: int
) -> tuple[int, list[tuple[int, str, str]]]:
    """Look at the next few intents: the last one's seq (0: none is left), and seq, id and fault."""
    rows: list[Row] = connection.execute(_NEXT, (seq, limit)).fetchall()
    ids = {row[0]: row[1] for row in rows}
    faults = _faults(connection, opener, iter(rows))
    return (rows[-1][0] if rows else 0), [(seq, ids[seq], why) for seq, why in faults]


def _faults(
    connection: apsw.Connection, opener: Opener, rows: Iterator[Row]
) -> Iterator[tuple[int, str]]:
    for row in rows:
        fault = fault_of(opener, row, connection.execute(_EVENTS, (row[0],)).fetchall())
        if fault:
            yield row[0], fault


def fault_of(opener: Opener, row: Row, events: list[Row]) -> str:
    """What is wrong with an intent, given its row and its events; empty when nothing is."""
    seq, intent_id, names, targets, stored, *_, body = row
    try:
        facts = opener.facts(seq, intent_id, stored)
        if body is not None:
            opener.body(intent_id, body)
        if (names, targets) != keys_of(opener.sealer, facts):
            return "its look-up keys are another's"
        if facts.kept:
            return _fault_of_kept(row, facts, events)
        return _fault_of_story(opener, row, events)
    except JournalDamaged as error:
        return error.message
    except IllegalTransition as error:
        return f"its events cannot have happened: {error}"


def _fault_of_kept(row: Row, facts: Facts, events: list[Row]) -> str:
    state = row[10]
    return "" if state == facts.kept and not events else "its row is not as it was left"


def _fault_of_story(opener: Opener, row: Row, events: list[Row]) -> str:
    seq, intent_id, _, _, _, *told, _ = row
    story, live, last_at = Statements(Clear()), None, None
    for number, at, event in events:
        happened = opener.event(number, seq, at, event)
        live = add_record(story, Record(intent_id, happened), live, number, at)
        last_at = at
    if live is None or live.seq != seq:
        return "its events are missing"
    return "" if tuple(told) == _expected(story, live, last_at) else "its row is not what happened"


def _expected(story: Statements, live: LiveIntent, last_at: int | None) -> Row:
    """The columns from `size` to `final_at` that these events lead to."""
    arrival = story.inserts[0]
    not_before = story.updates[-1][4] if story.updates else None
    final_at = last_at if live.state in FINAL else None
    return (*arrival[5:10], live.state.value, live.runs, live.failures, live.crashes, not_before,
            final_at)  # fmt: skip
