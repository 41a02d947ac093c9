"""The small tables beside intents and events: each way they are written, and what it changes.

Nothing of them can be made anew from elsewhere as it was, so they are counted like the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import apsw

from conductor_loop.adapters.journal.opening import Row

SqlValue = None | int | float | bytes | str
Bindings = tuple[SqlValue, ...]

# Each binds the key of its row first.
PAUSE = "INSERT OR REPLACE INTO pauses (target_key, pause, at) VALUES (?, ?, ?)"
RESUME = "DELETE FROM pauses WHERE target_key = ?"
PARK = "INSERT OR REPLACE INTO parked (seq, why) VALUES (?, ?)"
UNPARK = "DELETE FROM parked WHERE seq = ?"
IMPORT = "INSERT OR IGNORE INTO imported (file_key, file, processed_at) VALUES (?, ?, ?)"
SET_FACT = "INSERT OR REPLACE INTO facts (key, value) VALUES (?, ?)"
SET_ASIDE = "INSERT OR IGNORE INTO damaged (seq, why, at) VALUES (?, ?, ?)"
TAKE_BACK = "DELETE FROM damaged WHERE seq = ?"

_WRITES = {
    PAUSE: "pauses",
    RESUME: "pauses",
    PARK: "parked",
    UNPARK: "parked",
    IMPORT: "imported",
    SET_FACT: "facts",
    SET_ASIDE: "damaged",
    TAKE_BACK: "damaged",
}
_KEYS = {
    "damaged": "seq",
    "facts": "key",
    "imported": "file_key",
    "parked": "seq",
    "pauses": "target_key",
}
TABLES = tuple(_KEYS)
"""Those that are counted row by row."""
_ROW = {table: f"SELECT * FROM {table} WHERE {key} = ?" for table, key in _KEYS.items()}


@dataclass(slots=True)
class Change:
    """What one transaction adds and removes: seqs of intents, how many events, rows beside."""

    arrived: list[int] = field(default_factory=list)
    departed: list[int] = field(default_factory=list)
    events: int = 0
    unfinished: int = 0
    put: list[tuple[str, Row]] = field(default_factory=list)
    """Rows that are there now, by table."""
    taken: list[tuple[str, Row]] = field(default_factory=list)
    """Rows that were there."""


def write_beside(
    connection: apsw.Connection, statement: str, bindings: Bindings, change: Change
) -> None:
    """Run a statement, and note what it changes if it writes to a counted table."""
    table = _WRITES.get(statement)
    if table is None:
        connection.execute(statement, bindings)
        return
    # From what is there, not from what should be: what somebody removed stays missing.
    before = connection.execute(_ROW[table], bindings[:1]).fetchone()
    connection.execute(statement, bindings)
    after = connection.execute(_ROW[table], bindings[:1]).fetchone()
    if before == after:
        return
    if before is not None:
        change.taken.append((table, before))
    if after is not None:
        change.put.append((table, after))
