"""Taking up a log where the last daemon left it: from its last checkpoint, not from its beginning.

What was never signed was never synced, so nothing hangs on it: a crash's torn end is cut off.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from conductor_loop import disk
from conductor_loop.core.audit.ledger import Broken, Ledger, ledger_from, standing_of
from conductor_loop.core.audit.naming import SIGNATURE
from conductor_loop.core.audit.records import AuditRecord, decode_line
from conductor_loop.core.faults import CannotStart
from conductor_loop.projections.audit.files import LogFile, first_record, names, open_file

# Quotes inside texts are escaped, so only a record's own detail can look like this.
_STANDING = b'"tree":{'


@dataclass(frozen=True, slots=True)
class Resumed:
    """A log as it was found, with its end mended."""

    file: LogFile
    ledger: Ledger
    last_action: str
    seqs: dict[int, int]
    """The seq of each entry of the journal that was told since the last checkpoint."""
    cut: int
    """Bytes taken off its end, which a crash had left."""


def resume(folder: int, journal_position: int) -> Resumed | None:
    """Open the newest file; None when there is no log yet. The caller holds the lock.

    `journal_position` is up to where views are known to be in line. Raises CannotStart when
    records that were there are not any more, and OSError.
    """
    for name in reversed(names(folder)):
        resumed = _resume_file(folder, name, journal_position)
        if resumed is not None:
            return resumed
        # A crash came between making the file and its first synced record.
        os.unlink(name, dir_fd=folder)
        disk.sync(folder)
    return None


@dataclass(slots=True)
class _Walk:
    """From a record that tells where the log stood, as far as signatures reach."""

    ledger: Ledger
    newest: AuditRecord
    seqs: dict[int, int]
    length: int
    """Bytes up to the end of the newest signed record."""


def _resume_file(folder: int, name: bytes, journal_position: int) -> Resumed | None:
    handle = open_file(folder, name)
    try:
        found = _last_standing(handle, name)
        if found is None:
            os.close(handle)
            return None
        walk, end, rest = found
        if walk.ledger.journal_seq < journal_position and b"\n" in rest:
            raise _damaged(name, walk.ledger.size)  # noqa: TRY301  the handle is closed below
        if rest:
            os.ftruncate(handle, end)
            disk.sync(handle)
        written = datetime.fromisoformat(walk.newest.timestamp)
        file = LogFile(name, handle, end, _since(folder, name), written)
    except BaseException:
        os.close(handle)
        raise
    return Resumed(file, walk.ledger, walk.newest.action, walk.seqs, len(rest))


def told_by(folder: int) -> int:
    """Up to which entry of the journal a log tells; 0 when there is none. Changes nothing.

    Raises CannotStart when records that were there are not any more, and OSError.
    """
    for name in reversed(names(folder)):
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        try:
            found = _last_standing(handle, name)
        finally:
            os.close(handle)
        if found is not None:
            return found[0].ledger.journal_seq
    return 0


def _last_standing(handle: int, name: bytes) -> tuple[_Walk, int, bytes] | None:
    """Walk from the newest record that tells where the log stood and is signed for.

    Returns the walk, where it ended, and what stands behind that; None when nothing is signed.
    """
    size = os.fstat(handle).st_size
    if size == 0:
        return None
    with mmap.mmap(handle, 0, prot=mmap.PROT_READ) as data:
        before = size
        while (found := data.rfind(_STANDING, 0, before)) >= 0:
            begin = data.rfind(b"\n", 0, found) + 1
            tail = data[begin:]
            walk = _walk(tail)
            if walk is not None:
                return walk, begin + walk.length, tail[walk.length :]
            before = begin
        # In a whole line, it was synced once.
        if data.rfind(SIGNATURE, 0, data.rfind(b"\n") + 1) >= 0:
            raise _damaged(name, 0)
    return None


def _walk(tail: bytes) -> _Walk | None:
    """Follow the chain through whole lines; None when no signed record is reached."""
    records = _records(tail)
    signed = max((i for i, (r, _) in enumerate(records, 1) if r.signature), default=0)
    if not signed:
        return None
    first = records[0][0]
    try:
        standing = standing_of(first.details)
        assert standing is not None
        ledger = ledger_from(standing, first.prev)
        seqs: dict[int, int] = {}
        for record, line in records[:signed]:
            ledger.add(record, line)
            if record.journal_seq is not None:
                seqs[record.journal_seq] = record.seq
    except Broken:
        return None
    length = sum(len(line) + 1 for _, line in records[:signed])
    return _Walk(ledger, records[signed - 1][0], seqs, length)


def _records(tail: bytes) -> Sequence[tuple[AuditRecord, bytes]]:
    """The records at the beginning, as far as each follows the one before."""
    found: list[tuple[AuditRecord, bytes]] = []
    for line in tail.split(b"\n")[:-1]:
        try:
            record = decode_line(line)
        except ValueError:
            break
        if found:
            before, raw = found[-1]
            if record.seq != before.seq + 1 or record.prev != hashlib.sha256(raw).hexdigest():
                break
        found.append((record, line))
    return found


def _damaged(name: bytes, after: int) -> CannotStart:
    """Lines that were synced cannot be read, or do not follow each other: no crash does that."""
    return CannotStart(
        f"the audit log {os.fsdecode(name)} is damaged after record {after}",
        hint="conductor-loop audit verify tells where; keep the folder as evidence, move it away, "
        "and start again: a new log begins, and says by a gap what it does "
        "not tell, which verify counts as a fault",
        code="audit_damaged",
    )


def _since(folder: int, name: bytes) -> datetime:
    record = first_record(folder, name)
    assert record is not None  # its end is readable, and chained to its beginning
    return datetime.fromisoformat(record.timestamp)
