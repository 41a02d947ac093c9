"""How much there must be in the journal, sealed with every commit: what was removed shows.

A row cannot be forged, so as many rows as there were means the rows that there were. Only a row
that was forgotten in order could come back for another; a keyed sum over all intents tells those.
The small tables beside them have rows in clear, or such as come and go: a keyed sum over each.
"""

from __future__ import annotations

import hashlib
import logging
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import msgspec

from conductor_loop.adapters.journal.opening import Row
from conductor_loop.adapters.journal.sealing import Vault
from conductor_loop.adapters.journal.side_rows import TABLES, Change
from conductor_loop.core.faults import CannotStart, JournalDamaged

_log = logging.getLogger("conductor_loop.journal")
_PLACE, _ANCHOR_PLACE = b"ledger.count", b"anchor"
_READ = "SELECT count FROM ledger"
_WRITE = "INSERT OR REPLACE INTO ledger (only, count) VALUES (1, ?)"
_ROWS = """
SELECT (SELECT count(*) FROM intents), (SELECT count(*) FROM events),
  (SELECT count(*) FROM intents WHERE final_at IS NULL)"""
_SEQS = "SELECT seq FROM intents"
_SUM_BYTES = 16
_MODULUS = 1 << (8 * _SUM_BYTES)
_SEQ = struct.Struct(">q")
_SLOT_BYTES = 128
_SLOTS = 2
_WAYS_OUT = (
    "restore a backup; or, to go on from what is there: conductor-loop state rebuild, "
    "which takes final results from the verdicts and holds what it cannot be sure of"
)


class Count(msgspec.Struct, frozen=True, array_like=True):
    """What a commit left behind."""

    commits: int = 0
    intents: int = 0
    events: int = 0
    unfinished: int = 0
    total: bytes = bytes(_SUM_BYTES)
    """Keyed digests of all intents' seqs, added up."""
    uses: int = 0
    """How much was sealed with the newest key."""
    sides: dict[str, bytes] = {}
    """Keyed digests of the rows of each small table, added up; versions before had none."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many rows there are."""

    intents: int = 0
    events: int = 0
    unfinished: int = 0
    total: int = 0


class Ledger:
    """The count of one journal; used by its writing thread only."""

    def __init__(self, vault: Vault, count: Count, anchor: Anchor) -> None:
        self._vault = vault
        self._count = count
        self._anchor = anchor
        self._is_behind = False

    def write(self, connection: apsw.Connection, change: Change) -> Count:
        """Put the new count into the caller's transaction; `settle` it once that is committed."""
        count = self._changed(change)
        write_count(connection, self._vault, count)
        return count

    def _changed(self, change: Change) -> Count:
        count, total = self._count, int.from_bytes(self._count.total, "big")
        total += sum(keyed_digest(self._vault, seq) for seq in change.arrived)
        total -= sum(keyed_digest(self._vault, seq) for seq in change.departed)
        return Count(
            commits=count.commits + 1,
            intents=count.intents + len(change.arrived) - len(change.departed),
            events=count.events + change.events,
            unfinished=count.unfinished + change.unfinished,
            total=_sum_bytes(total),
            uses=self._vault.sealed + 1,
            sides=_changed_sides(self._vault, count.sides, change),
        )

    def settle(self, count: Count) -> None:
        """The transaction is on disk: so is the count."""
        self._count = count
        try:
            self._anchor.write(self._vault, count.commits)
        except OSError as error:
            # It lags behind, as after a power cut; the next commit tries again.
            if not self._is_behind:
                _log.warning("the journal's anchor cannot be written: %s", error.strerror)
            self._is_behind = True
        else:
            self._is_behind = False


def keyed_digest(vault: Vault, seq: int) -> int:
    """A number for a seq that nobody without the key can tell."""
    digest = hashlib.blake2b(_SEQ.pack(seq), key=vault.counting, digest_size=_SUM_BYTES)
    return int.from_bytes(digest.digest(), "big")


def _row_digest(vault: Vault, table: str, row: Row) -> int:
    """The same for a whole row; apart from seqs, and from other tables, by its person."""
    digest = hashlib.blake2b(
        msgspec.msgpack.encode(row),
        key=vault.counting,
        digest_size=_SUM_BYTES,
        person=table.encode(),
    )
    return int.from_bytes(digest.digest(), "big")


def _changed_sides(vault: Vault, sides: dict[str, bytes], change: Change) -> dict[str, bytes]:
    if not change.put and not change.taken:
        return sides
    totals = {table: int.from_bytes(total, "big") for table, total in sides.items()}
    for table, row in change.put:
        totals[table] = totals.get(table, 0) + _row_digest(vault, table, row)
    for table, row in change.taken:
        totals[table] = totals.get(table, 0) - _row_digest(vault, table, row)
    return {table: _sum_bytes(total) for table, total in totals.items()}


def side_sums(connection: apsw.Connection, vault: Vault) -> dict[str, bytes]:
    """What the small tables add up to, by table: about two microseconds a row."""
    return {
        table: _sum_bytes(
            sum(
                _row_digest(vault, table, row)
                for row in connection.execute(f"SELECT * FROM {table}")
            )
        )
        for table in TABLES
    }


def altered_sides(count: Count, sums: dict[str, bytes]) -> list[str]:
    """The small tables that are not as they were left."""
    return [table for table in TABLES if count.sides.get(table, sums[table]) != sums[table]]


def _sum_bytes(total: int) -> bytes:
    return (total % _MODULUS).to_bytes(_SUM_BYTES, "big")


def begin_count(connection: apsw.Connection, vault: Vault, commits: int = 1) -> None:
    """Count what is there, inside the caller's transaction, as of that many commits."""
    found, sides = actual_count(connection, vault), side_sums(connection, vault)
    total = _sum_bytes(found.total)
    write_count(
        connection,
        vault,
        Count(commits, found.intents, found.events, found.unfinished, total, sides=sides),
    )


def write_count(connection: apsw.Connection, vault: Vault, count: Count) -> None:
    """Seal a count, inside the caller's transaction."""
    connection.execute(_WRITE, (vault.seal(_PLACE, msgspec.msgpack.encode(count)),))


def read_count(connection: apsw.Connection, vault: Vault) -> Count:
    """The count as it was sealed. Raises JournalDamaged."""
    stored = connection.execute(_READ).get
    if not isinstance(stored, bytes):
        raise JournalDamaged("the journal does not say how much there must be in it")
    return msgspec.msgpack.decode(vault.open(_PLACE, stored), type=Count)


def quick_count(connection: apsw.Connection) -> Found:
    """How many rows there are, without the sum."""
    row = connection.execute(_ROWS).fetchone()
    assert row is not None
    intents, events, unfinished = row
    return Found(intents, events, unfinished)


def actual_count(connection: apsw.Connection, vault: Vault) -> Found:
    """How many rows there are, with the sum: about a microsecond an intent."""
    total = sum(keyed_digest(vault, seq) for (seq,) in connection.execute(_SEQS))
    return replace(quick_count(connection), total=total % _MODULUS)


def missing_rows(count: Count, found: Found) -> str:
    """What is not there, or too much; empty when the numbers agree."""
    return ", ".join(
        f"{has} of {wanted} {what} are there"
        for what, wanted, has in (
            ("intents", count.intents, found.intents),
            ("events", count.events, found.events),
        )
        if wanted != has
    )


def not_whole(connection: apsw.Connection, vault: Vault) -> str:
    """What is missing, exchanged or altered, everything counted; empty for nothing.

    Raises JournalDamaged: the count itself cannot be trusted.
    """
    count, found = read_count(connection, vault), actual_count(connection, vault)
    altered = altered_sides(count, side_sums(connection, vault))
    if missing := missing_rows(count, found):
        return missing
    if count.total != _sum_bytes(found.total):
        return "intents were exchanged for others"
    return f"rows of {', '.join(altered)} are not those that were written" if altered else ""


class Anchor:
    """A small file beside the journal that tells how far it had come.

    Two slots, written by turns, so that a torn write leaves the other. It is not synced: after a
    power cut it may lag behind the journal, never the other way round.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._handle = os.open(path, flags, 0o600)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._handle)

    def write(self, vault: Vault, commits: int) -> None:
        """Note a commit."""
        told = vault.seal(_ANCHOR_PLACE, commits.to_bytes(8, "big"))
        slot = commits % _SLOTS * _SLOT_BYTES
        os.pwrite(self._handle, len(told).to_bytes(1, "big") + told, slot)

    def read(self, vault: Vault) -> int | None:
        """The last commit that was noted; None when none can be read."""
        found = [self._slot(vault, number * _SLOT_BYTES) for number in range(_SLOTS)]
        return max((commits for commits in found if commits is not None), default=None)

    def _slot(self, vault: Vault, at: int) -> int | None:
        data = os.pread(self._handle, _SLOT_BYTES, at)
        try:
            return int.from_bytes(vault.open(_ANCHOR_PLACE, data[1 : 1 + data[0]]), "big")
        except (JournalDamaged, IndexError):
            return None


def check_age(count: Count, anchored: int | None) -> None:
    """Raises CannotStart when the journal is older than its anchor says."""
    if anchored is not None and count.commits < anchored:
        raise CannotStart(
            f"the journal is an old copy: it ends at commit {count.commits}, "
            f"and commit {anchored} was made",
            code="journal_rolled_back",
            hint=f"put the newest one back; or {_WAYS_OUT}",
        )


def check_rows(count: Count, found: Found) -> None:
    """Raises CannotStart when rows are missing, or there are more than were written."""
    missing = missing_rows(count, found)
    if missing:
        raise untrusted(f"rows were removed from the journal, or put into it: {missing}")


def untrusted(why: str) -> CannotStart:
    """The refusal of a journal of which nobody can tell what is missing."""
    return CannotStart(why, code="journal_incomplete", hint=_WAYS_OUT)
