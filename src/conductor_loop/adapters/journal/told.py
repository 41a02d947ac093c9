"""What tidying told of shrinks to a bare row once every view has applied it.

The row itself stays: rows are counted, and one that may go could later come back in the place of
another. Sealed it takes 66 bytes without its ids, and 5,865 with 200 of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import msgspec

from conductor_loop.adapters.journal.sealing import Sealer, event_place
from conductor_loop.adapters.journal.side_rows import SET_FACT, Change, write_beside
from conductor_loop.core.events import Tidied, decode, encode
from conductor_loop.core.faults import JournalDamaged

_TOLD = "told"
"""The fact that names the events which have yet to shrink, by seq."""
_FACT = "SELECT value FROM facts WHERE key = ?"
_EVENT = """
SELECT at, event, seq <= (SELECT seq FROM relay) AND seq NOT IN (SELECT seq FROM parked)
FROM events WHERE seq = ? AND intent IS NULL"""
_SHRINK = "UPDATE events SET event = ? WHERE seq = ?"


def shrink_told(
    connection: apsw.Connection, sealer: Sealer, told_by: Sequence[int], change: Change
) -> None:
    """Shrink those of `told_by`, and of earlier ones, that are applied; keep the rest in mind."""
    kept = connection.execute(_FACT, (_TOLD,)).get
    earlier = [int(word) for word in str(kept or "").split() if word.isdecimal()]
    left = [seq for seq in (*earlier, *told_by) if _is_to_come(connection, sealer, seq)]
    write_beside(connection, SET_FACT, (_TOLD, " ".join(map(str, left))), change)


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
