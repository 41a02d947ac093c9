"""Opening the journal's file: pragmas, the schema's version, migrations."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from conductor_loop.adapters.audit_files import log_files
from conductor_loop.core.faults import CannotStart

FILE_NAME = "journal.db"
ANCHOR_SUFFIX = ".anchor"
SCHEMA_VERSION = 1
MADE_IF_MISSING = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BUSY_MILLISECONDS = 10_000
_CACHE_KIBIBYTES = 1024
_GARBLED = (apsw.NotADBError, apsw.CorruptError)
_REFUSED = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.IOError,
    apsw.PermissionsError,
    apsw.ReadOnlyError,
)


def to_microseconds(moment: datetime) -> int:
    """Moments as the journal stores them."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Moments as everybody else wants them: aware, UTC."""
    return _EPOCH + timedelta(microseconds=value)


def open_database(path: Path, flags: int, query: str = "") -> apsw.Connection:
    """Open a file by its URI, which takes every name; a plain one has to be UTF-8.

    `query`: parameters of the URI, after a question mark (sqlite.org/uri.html).
    """
    name = path.absolute().as_uri() + query
    return apsw.Connection(name, flags=flags | apsw.SQLITE_OPEN_URI)


def open_for_writing(
    path: Path, begin: Callable[[apsw.Connection], None] | None = None, *, is_copy: bool = False
) -> apsw.Connection:
    """Open or make the journal, bring its schema up to date, and return the only writer.

    `begin` is called for a new one, inside the transaction that makes it; only with `is_copy` may
    that stand in for one that was there before.
    Raises CannotStart: gone, newer schema, not a journal, not writable.
    """
    if not is_copy:
        _refuse_gone(path)
    try:
        # SQLite gives -wal and -shm the mode of the main file, so that file is made first.
        _make_private(path)
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
        connection = open_database(path, flags)
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit that returned survives a power cut (sqlite.org, PRAGMA synchronous).
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIBIBYTES}")
        # A daemon that has confined itself may write no file where SQLite would put one.
        connection.execute("PRAGMA temp_store = MEMORY")
        _migrate(connection, path, begin)
    except _GARBLED as error:
        raise _unreadable(path, error) from error
    except (OSError, *_REFUSED) as error:
        raise CannotStart(
            f"the journal {path} cannot be written: {error}",
            code="journal_unwritable",
            hint="check its owner, its mode, and whether its disk has room",
        ) from error
    return connection


def require_journal(path: Path) -> None:
    """Raise CannotStart where there is none, instead of making one in the wrong folder."""
    if not path.exists():
        raise _missing(path)


def open_for_reading(path: Path, *, leaves_no_trace: bool = False) -> apsw.Connection:
    """Open an existing journal for queries only.

    `leaves_no_trace`: for one short look, also make no file beside a journal that nobody has open.
    Raises CannotStart: none there (gone, or none yet: it is just being made), newer schema,
    unreadable.
    """
    require_journal(path)
    try:
        if leaves_no_trace and not path.with_name(f"{path.name}-wal").exists():
            # SQLite would make -wal and -shm anew, and leave them (sqlite.org/uri.html, immutable).
            connection = open_database(path, apsw.SQLITE_OPEN_READONLY, "?immutable=1")
        else:
            connection = open_database(path, apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(_BUSY_MILLISECONDS)
        version = _version(connection)
    except (*_GARBLED, *_REFUSED) as error:
        raise _unreadable(path, error) from error
    if version == 0:
        raise _missing(path)
    _refuse_newer(version, path)
    return connection


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


class NoJournal(CannotStart):
    """There is none, or none yet."""

    code = "no_journal"


class JournalGone(CannotStart):
    """There is none any more: a new one would run again what had been run."""

    code = "journal_gone"


def _refuse_gone(path: Path) -> None:
    is_there = path.exists() and path.stat().st_size
    if not is_there and _has_past(path):
        raise _missing(path)


def _has_past(path: Path) -> bool:
    """Whether what lies beside a journal tells that there was one."""
    anchor = path.with_name(f"{path.name}{ANCHOR_SUFFIX}")
    return any(each.exists() and each.stat().st_size for each in (anchor, *log_files(path.parent)))


def _missing(path: Path) -> CannotStart:
    if _has_past(path):
        return JournalGone(
            f"the journal {path.absolute()} is gone, or empty: its anchor or the audit log beside "
            "it tells that there was one",
            hint="put it back; or restore a backup: conductor-loop restore; or conductor-loop "
            "state rebuild, which takes final results from the verdicts",
        )
    return NoJournal(
        f"no journal at {path.absolute()}",
        hint="no daemon has run here yet: start one, or name another folder by -handoff or -config",
    )


def _unreadable(path: Path, error: Exception) -> CannotStart:
    return CannotStart(
        f"{path} is not a journal that can be read: {error}",
        code="journal_unreadable",
        hint="check its mode; for a damaged one restore a backup, or: conductor-loop state rebuild",
    )


def _version(connection: apsw.Connection) -> int:
    value = connection.execute("PRAGMA user_version").get
    assert isinstance(value, int)
    return value


def _migrate(
    connection: apsw.Connection, path: Path, begin: Callable[[apsw.Connection], None] | None
) -> None:
    version = _version(connection)
    _refuse_newer(version, path)
    if version == SCHEMA_VERSION:
        return
    if version:
        copy_aside(connection, path.with_name(f"{path.name}.before-{SCHEMA_VERSION}"))
    with connection:
        for step in range(version + 1, SCHEMA_VERSION + 1):
            connection.execute(_script(step))
        if not version and begin is not None:
            begin(connection)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _refuse_newer(version: int, path: Path) -> None:
    if version > SCHEMA_VERSION:
        raise CannotStart(
            f"{path} has schema {version}, this version knows {SCHEMA_VERSION} at most",
            code="journal_newer",
            hint="run the newer conductor-loop that wrote it, or restore the copy made before",
        )


def _script(step: int) -> str:
    return Path(__file__).with_name(f"schema_{step}.sql").read_text(encoding="utf-8")


def copy_aside(connection: apsw.Connection, destination: Path) -> None:
    """Copy a whole journal, for its owner alone: it holds the same intents."""
    destination.unlink(missing_ok=True)
    _make_private(destination)
    copy = open_database(destination, MADE_IF_MISSING)
    with copy.backup("main", connection, "main") as backup:
        while not backup.done:
            backup.step(1000)
    copy.close()
