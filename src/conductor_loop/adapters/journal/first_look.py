"""The look at start: what cannot be trusted is set aside, or put right, before anything runs.

What is told of it stands in the same transaction, so that no crash and no command keeps it quiet.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

import apsw
from msgspec.structs import replace

from conductor_loop.adapters.journal.integrity import faults_at_start
from conductor_loop.adapters.journal.opening import Damage, Opener, Row, entry_name
from conductor_loop.adapters.journal.reader import LAST_SEQ
from conductor_loop.adapters.journal.rows import Statements, add_record, pause_row
from conductor_loop.adapters.journal.sealing import Sealer, keyed_place
from conductor_loop.adapters.journal.side_rows import (
    PAUSE,
    RESUME,
    SET_ASIDE,
    Change,
    write_beside,
)
from conductor_loop.core.events import Noticed, Paused, Resumed
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.legible import legible_line
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import (
    ALTERED,
    ASIDE,
    CLAIM,
    DISCARDED,
    ENDED,
    severity_of,
)

_log = logging.getLogger("conductor_loop.journal")
_SERVICE_EVENTS = "SELECT seq, at, event FROM events WHERE intent IS NULL ORDER BY seq"
_ID = "SELECT id FROM intents WHERE seq = ?"
# An id may be of a stranger's making here: nothing vouches for the row.
_LONGEST_TEXT = 1024
_MEANING = {
    "damaged": "every intent was looked at anew, and what is set aside stays so",
    "facts": "what they say is not to be believed, such as which porch ran last",
    "imported": "what the original program had processed may be run when it is handed over again",
    "parked": "what a view could not take may never be shown",
    "pauses": "whatever was paused by its entries is paused; resume what should run",
}


def look_at_start(
    connection: apsw.Connection, sealer: Sealer, at: int, *, altered: Collection[str], is_all: bool
) -> Change:
    """Look at all that a daemon would act on, inside the caller's transaction.

    `altered` are the small tables that are not as they were left; with `is_all` finished intents
    are looked at too. `at` is now, in microseconds since 1970.
    """
    change, notices, opener = Change(), [], Opener(sealer)
    for seq, why in list(faults_at_start(connection, opener, all_of_them=is_all)):
        write_beside(connection, SET_ASIDE, (seq, why, at), change)
        whose = connection.execute(_ID, (seq,)).get or entry_name(seq)
        _log.error("set aside, and not run: %s: %s", whose, why)
        notices.append(set_aside_notice(str(whose), why))
    if "pauses" in altered:
        _put_pauses_right(connection, opener, change)
    for table in altered:
        _log.error("the journal's %s are not what was written: %s", table, _MEANING[table])
        details = {"consequence": _MEANING[table]}
        notices.append(Noticed(ALTERED, severity_of(ALTERED), table, details))
    _tell(connection, sealer, notices, at, change)
    return change


def set_aside_notice(whose: str, why: str) -> Noticed:
    """What is told of an intent, or an entry, that was set aside."""
    subject, reason = (legible_line(text[:_LONGEST_TEXT]) for text in (whose, why))
    return Noticed(ASIDE, severity_of(ASIDE), subject, {"why": reason})


def discarded_notice(dropped: Damage, by: str) -> Noticed:
    """What is told of an intent, or an entry, that was set aside, and dropped by an operator."""
    aside = set_aside_notice(dropped.name, dropped.why)
    details = {**aside.details, CLAIM: ENDED} if dropped.intent_id else aside.details
    return replace(aside, code=DISCARDED, severity=severity_of(DISCARDED), by=by, details=details)


def _put_pauses_right(connection: apsw.Connection, opener: Opener, change: Change) -> None:
    """Everything that its entries pause is paused. What opens stays too: it was sealed by us once,
    and a pause too many is an operator's to lift."""
    sealer = opener.sealer
    for paused, at in _pauses_in_force(connection, opener):
        write_beside(connection, PAUSE, pause_row(sealer, paused, at), change)
    rows: list[Row] = connection.execute("SELECT target_key, pause FROM pauses").fetchall()
    for key, stored in rows:
        try:
            sealer.open(keyed_place(b"pauses.pause", key), stored)
        except JournalDamaged:  # whatever it was, its entry was heard above
            write_beside(connection, RESUME, (key,), change)


def _pauses_in_force(connection: apsw.Connection, opener: Opener) -> Iterable[tuple[Paused, int]]:
    """What the sealed entries leave paused, each with its moment: they cannot be forged."""
    in_force: dict[str, tuple[Paused, int]] = {}
    for seq, at, stored in connection.execute(_SERVICE_EVENTS):
        try:
            event = opener.event(seq, None, at, stored)
        except JournalDamaged:
            event = Paused("journal", f"entry {seq} cannot be read, and may have been a pause")
        if isinstance(event, Paused):
            in_force[event.target] = event, at
        elif isinstance(event, Resumed):
            in_force.pop(event.target, None)
    return in_force.values()


def _tell(
    connection: apsw.Connection,
    sealer: Sealer,
    notices: Collection[Noticed],
    at: int,
    change: Change,
) -> None:
    last = connection.execute(LAST_SEQ).get
    assert isinstance(last, int)
    statements = Statements(sealer)
    for seq, notice in enumerate(notices, last + 1):
        add_record(statements, Record(None, notice), None, seq, at)
    statements.execute(connection, change)
