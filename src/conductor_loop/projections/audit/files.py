"""The files of the audit log: their names, appending to one, and finding a record in them."""

from __future__ import annotations

import errno
import mmap
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from conductor_loop import disk
from conductor_loop.core.audit import naming
from conductor_loop.core.audit.records import AuditRecord, decode_line
from conductor_loop.core.faults import DurabilityLost

FOLDER = naming.FOLDER.encode("ascii")
NOTE = b"checkpoint"
_NAME = re.compile(naming.LOG_FILE.encode("ascii"))
_MODE, _PRIVATE_FOLDER = 0o600, 0o700


def open_folder(state: int) -> int:
    """Open the folder of the log inside the state dir, making it if need be. Raises OSError."""
    try:
        os.mkdir(FOLDER, _PRIVATE_FOLDER, dir_fd=state)
        disk.sync(state)
    except FileExistsError:
        pass
    return disk.open_folder(FOLDER, inside=state)


def names(folder: int) -> list[bytes]:
    """The files of a log, oldest first."""
    return sorted(n for n in map(os.fsencode, os.listdir(folder)) if _NAME.fullmatch(n))


def name_of(first_seq: int) -> bytes:
    """The name of a file by the seq of its first record."""
    return b"audit-%012d.jsonl" % first_seq


@dataclass(slots=True)
class LogFile:
    """One file, open for appending. `end` is how much of it is ours and whole."""

    name: bytes
    handle: int
    end: int
    since: datetime
    """When its first record was written."""
    newest: datetime
    """When the newest record was written that it had when it was opened."""

    def append(self, data: bytes) -> None:
        """Write, not yet durable. Raises OSError, with the file as it was, for what may pass.

        DurabilityLost: somebody else changed the file, or it cannot be written for good.
        """
        self._require_untouched()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self.handle, rest) :]
        except OSError as error:
            self.cut(self.end)
            if error.errno in disk.PASSING_ERRORS:
                raise
            raise _unwritable(error) from error
        self.end += len(data)

    def cut(self, end: int) -> None:
        """Go back to an earlier length. Raises DurabilityLost."""
        try:
            os.ftruncate(self.handle, end)
        except OSError as error:
            raise _unwritable(error) from error
        self.end = end

    def close(self) -> None:
        """Close the file."""
        os.close(self.handle)

    def _require_untouched(self) -> None:
        status = os.fstat(self.handle)
        if status.st_nlink == 0 or status.st_size != self.end:
            what = "was removed" if status.st_nlink == 0 else "was changed by somebody else"
            raise DurabilityLost(
                f"the audit log {os.fsdecode(self.name)} {what} under the running daemon",
                hint="see what is missing: conductor-loop audit verify; then start again",
                code="audit_changed",
            )


def make_file(folder: int, first_seq: int, now: datetime) -> LogFile:
    """Make a file that begins with a record. Raises OSError; it is not durable yet."""
    name = name_of(first_seq)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(name, flags, _MODE, dir_fd=folder)
    os.fchmod(handle, _MODE)  # whatever the umask is
    return LogFile(name, handle, 0, now, now)


def open_file(folder: int, name: bytes) -> int:
    """Open a file of the log for reading and appending. Raises OSError."""
    handle = os.open(name, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW, dir_fd=folder)
    if os.fstat(handle).st_nlink != 1:
        os.close(handle)
        raise OSError(errno.EMLINK, "the audit log has more than one name", os.fsdecode(name))
    return handle


def first_record(folder: int, name: bytes) -> AuditRecord | None:
    """The record that a file begins with; None when there is none."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    with open(handle, "rb") as file:
        line = file.readline()
    try:
        return decode_line(line[:-1]) if line.endswith(b"\n") else None
    except ValueError:
        return None


def find_entry(folder: int, journal_seq: int) -> int | None:
    """The seq of the newest record that tells an entry of the journal."""
    for name in reversed(names(folder)):
        for line in _lines_with(folder, name, b'"journal_seq":%d,' % journal_seq):
            try:
                record = decode_line(line)
            except ValueError:
                continue  # `audit verify` tells
            if record.journal_seq == journal_seq:
                return record.seq
    return None


def _lines_with(folder: int, name: bytes, what: bytes) -> Iterator[bytes]:
    """Lines with these bytes in them, newest first."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    with open(handle, "rb"):
        if os.fstat(handle).st_size == 0:
            return
        with mmap.mmap(handle, 0, prot=mmap.PROT_READ) as data:
            found = data.rfind(what)
            while found >= 0:
                start = data.rfind(b"\n", 0, found) + 1
                end = data.find(b"\n", found)
                yield data[start : end if end >= 0 else len(data)]
                found = data.rfind(what, 0, start)


def _unwritable(error: OSError) -> DurabilityLost:
    return DurabilityLost(
        f"the audit log cannot be written: {error.strerror}",
        hint="nothing goes on unaudited: mend the state dir's audit folder, then start again",
        code="audit_not_writable",
    )
