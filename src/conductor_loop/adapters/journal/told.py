"""What tidying told of shrinks to a bare row once every view has applied it.

The row itself stays: rows are counted, and one that may go could later come back in the place of
another. Sealed it takes 66 bytes without its ids, and 5,865 with 200 of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apsw
import msgspec

from conductor_loop.adapters.journal.sealing import Sealer, event_place
from conductor_loop.adapters.journal.side_rows import SET_FACT, Bindings, Change, write_beside
from conductor_loop.core.events import Tidied, decode, encode
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.records import Entry

_TOLD = "told"
"""The fact that names the events which have yet to shrink, by seq."""
GOING = "going"
"""The fact with the seq of the one whose intents are about to go; empty once they are forgotten."""
STILL_THERE = """
WHERE id IN (SELECT value FROM json_each(?)) AND filed IS NOT NULL AND filed <> 'gone'
  AND seq NOT IN (SELECT seq FROM damaged) ORDER BY seq"""
"""Which intents of some ids are final, in line, and not forgotten."""
_FACT = "SELECT value FROM facts WHERE key = ?"
_EVENT = """
SELECT at, event, seq <= (SELECT seq FROM relay) AND seq NOT IN (SELECT seq FROM parked)
FROM events WHERE seq = ? AND intent IS NULL"""
_SHRINK = "UPDATE events SET event = ? WHERE seq = ?"


def begin_to_go(seq: int) -> tuple[str, Bindings]:
    """Keep in mind, with a `Tidied` itself, that its intents are not forgotten yet."""
    return SET_FACT, (GOING, str(seq))


def named_in(entries: Iterable[Entry]) -> list[str]:
    """The ids that events of tidying name."""
    events = (entry.event for entry in entries)
    return [each for event in events if isinstance(event, Tidied) for each in event.intent_ids]


def shrink_told(
    connection: apsw.Connection, sealer: Sealer, told_by: Sequence[int], change: Change
) -> None:
    """Shrink those of `told_by`, and of earlier ones, that are applied; keep the rest in mind."""
    kept = connection.execute(_FACT, (_TOLD,)).get
    earlier = [int(word) for word in str(kept or "").split() if word.isdecimal()]
    left = [seq for seq in (*earlier, *told_by) if _is_to_come(connection, sealer, seq)]
    write_beside(connection, SET_FACT, (_TOLD, " ".join(map(str, left))), change)
    if connection.execute(_FACT, (GOING,)).get in map(str, told_by):
        write_beside(connection, SET_FACT, (GOING, ""), change)


def _is_to_come(connection: apsw.Connection, sealer: Sealer, seq: int) -> bool:
    """Whether a view has yet to apply an event; otherwise it shrinks, if it is one of tidying."""
    row = connection.execute(_EVENT, (seq,)).fetchone()
    if row is None:
        return False
    at, stored, is_applied = row
    if not is_applied:
        return True
    place = event_place(seq, None, at)
    # The fact is in clear: whoever wrote another seq into it must not have its event emptied.
    if _is_tidied(sealer, place, stored):
        connection.execute(_SHRINK, (sealer.seal(place, encode(Tidied(()))), seq))
    return False


def _is_tidied(sealer: Sealer, place: bytes, stored: bytes) -> bool:
    try:
        return isinstance(decode(sealer.open(place, stored)), Tidied)
    except (JournalDamaged, msgspec.MsgspecError):
        return False
