"""Encryption switched on or off: every row is written anew, and nothing of the old is left.

One transaction after a copy; then the file is rebuilt, its log cut, and the copy wiped. A copy
that is there at start means that this was not finished: the steps behind the transaction are
taken again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import msgspec

from conductor_loop.adapters.journal.data_keys import Sealing, first_keys
from conductor_loop.adapters.journal.database import ANCHOR_SUFFIX, FILE_NAME, copy_aside
from conductor_loop.adapters.journal.ledger import begin_count
from conductor_loop.adapters.journal.opening import Row
from conductor_loop.adapters.journal.rows import file_key, keys_of, pause_key
from conductor_loop.adapters.journal.sealing import (
    Clear,
    Sealer,
    Vault,
    body_place,
    decode_facts,
    event_place,
    facts_place,
    keyed_place,
    parked_place,
)
from conductor_loop.core.faults import CannotStart

_log = logging.getLogger("conductor_loop.journal")
_COPY_SUFFIX = ".before-switch"
_AT_ONCE = 500
_WIPED_AT_ONCE = 1 << 20
_Rewrite = Callable[[Sealer, Sealer, Row], Row]


def switch_if_asked(
    connection: apsw.Connection, state_dir: Path, sealing: Sealing, sealer: Vault | Clear, at: int
) -> Vault | Clear:
    """Bring the journal to the form that is wanted; return what opens it then.

    Raises CannotStart: something in it cannot be opened; or it is in clear where it was sealed.
    """
    path = state_dir / FILE_NAME
    copy, anchor = (
        path.with_name(FILE_NAME + _COPY_SUFFIX),
        path.with_name(FILE_NAME + ANCHOR_SUFFIX),
    )
    if isinstance(sealer, Vault) != sealing.enabled:
        if isinstance(sealer, Clear) and anchor.exists() and not copy.exists():
            raise _exchanged(path)
        copy_aside(connection, copy)
        sealer = _switch(connection, state_dir, sealing, sealer, at)
        _log.warning("the journal's encryption was switched %s", "on" if sealing.enabled else "off")
    if not sealing.enabled:
        anchor.unlink(missing_ok=True)
    if copy.exists():
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _wipe(copy)
    return sealer


def _exchanged(path: Path) -> CannotStart:
    return CannotStart(
        f"{path} is in clear, and the journal that stood here was sealed",
        code="journal_exchanged",
        hint="put the sealed one back; or remove its anchor, if this is how you want it: "
        f"{path}{ANCHOR_SUFFIX}",
    )


def _switch(
    connection: apsw.Connection, state_dir: Path, sealing: Sealing, old: Sealer, at: int
) -> Vault | Clear:
    connection.execute("PRAGMA secure_delete = ON")
    with connection:
        connection.execute("DELETE FROM data_keys")
        connection.execute("DELETE FROM ledger")
        new = (
            first_keys(connection, state_dir, sealing.kek_file, at) if sealing.enabled else Clear()
        )
        for select, update, rewrite in _TABLES:
            for rows in _chunks(connection, select):
                connection.executemany(update, [rewrite(old, new, row) for row in rows])
        if isinstance(new, Vault):
            begin_count(connection, new)
    return new


def _chunks(connection: apsw.Connection, select: str) -> Iterator[list[Row]]:
    # What is found is written to: it is read first, so that no row is met twice.
    rowids = [rowid for (rowid,) in connection.execute(select.format("rowid", "ORDER BY rowid"))]
    for first in range(0, len(rowids), _AT_ONCE):
        last = rowids[min(first + _AT_ONCE, len(rowids)) - 1]
        where = "WHERE rowid BETWEEN ? AND ?"
        yield connection.execute(
            select.format(_COLUMNS[select], where), (rowids[first], last)
        ).fetchall()


def _intent(old: Sealer, new: Sealer, row: Row) -> Row:
    seq, intent_id, stored, body = row
    place = facts_place(seq, intent_id)
    facts = old.open(place, stored)
    names, targets = keys_of(new, decode_facts(facts))
    if body is not None:
        body = new.seal(body_place(intent_id), old.open(body_place(intent_id), body))
    return names, targets, new.seal(place, facts), body, seq


def _event(old: Sealer, new: Sealer, row: Row) -> Row:
    seq, intent, at, stored = row
    place = event_place(seq, intent, at)
    return new.seal(place, old.open(place, stored)), seq


def _parked(old: Sealer, new: Sealer, row: Row) -> Row:
    seq, stored = row
    return new.seal(parked_place(seq), old.open(parked_place(seq), stored)), seq


def _pause(old: Sealer, new: Sealer, row: Row) -> Row:
    rowid, key, stored = row
    told = old.open(keyed_place(b"pauses.pause", key), stored)
    target, _, _ = msgspec.json.decode(told, type=tuple[str, str, str])
    key = pause_key(new, target)
    return key, new.seal(keyed_place(b"pauses.pause", key), told), rowid


def _imported(old: Sealer, new: Sealer, row: Row) -> Row:
    rowid, key, stored = row
    told = old.open(keyed_place(b"imported.file", key), stored)
    name, digest = msgspec.msgpack.decode(told, type=tuple[bytes, str])
    key = file_key(new, name, digest)
    return key, new.seal(keyed_place(b"imported.file", key), told), rowid


_INTENTS = "SELECT {} FROM intents {}"
_EVENTS = "SELECT {} FROM events {}"
_PARKED = "SELECT {} FROM parked {}"
_PAUSES = "SELECT {} FROM pauses {}"
_IMPORTED = "SELECT {} FROM imported {}"
_COLUMNS = {
    _INTENTS: "seq, id, facts, body",
    _EVENTS: "seq, intent, at, event",
    _PARKED: "seq, why",
    _PAUSES: "rowid, target_key, pause",
    _IMPORTED: "rowid, file_key, file",
}
_TABLES: tuple[tuple[str, str, _Rewrite], ...] = (
    (
        _INTENTS,
        "UPDATE intents SET name_key = ?, target_key = ?, facts = ?, body = ? WHERE seq = ?",
        _intent,
    ),
    (_EVENTS, "UPDATE events SET event = ? WHERE seq = ?", _event),
    (_PARKED, "UPDATE parked SET why = ? WHERE seq = ?", _parked),
    (_PAUSES, "UPDATE pauses SET target_key = ?, pause = ? WHERE rowid = ?", _pause),
    (_IMPORTED, "UPDATE imported SET file_key = ?, file = ? WHERE rowid = ?", _imported),
)


def _wipe(path: Path) -> None:
    """Overwrite and remove; what the disk itself keeps of it is beyond us."""
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for at in range(0, os.fstat(handle).st_size, _WIPED_AT_ONCE):
            os.pwrite(handle, bytes(_WIPED_AT_ONCE), at)
        os.fsync(handle)
    finally:
        os.close(handle)
    path.unlink()
