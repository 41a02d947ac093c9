"""What the original program had processed, taken over into the journal."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from conductor_loop.adapters.journal.database import to_microseconds
from conductor_loop.adapters.journal.writer import SqliteJournal
from conductor_loop.adapters.users import user_name
from conductor_loop.core.events import Noticed
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import shown
from conductor_loop.core.original_state import (
    FileState,
    NotOriginalState,
    OriginalStatus,
    file_name,
    read_original_state,
)
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import severity_of

_log = logging.getLogger("conductor_loop")


async def import_original(path: Path, journal: SqliteJournal) -> None:
    """Once: what the original had processed is not run again."""
    if journal.reader.fact("imported") is not None:
        return
    try:
        state = read_original_state(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, NotOriginalState) as error:
        raise CannotStart(
            f"{path} was left by the original and cannot be read: {error}",
            hint="mend it, or move it away to have everything in the folder run",
            code="original_state_unreadable",
        ) from error
    await remember(journal, state.files, str(path), user_name(os.geteuid()))
    _log.info("took over %d files from the original's state", len(state.files))


async def remember(
    journal: SqliteJournal, files: Sequence[FileState], source: str, by: str
) -> None:
    """Journal what the original had processed, and that somebody did so."""
    source = shown(os.fsencode(source))
    processed = [f for f in files if f.status is OriginalStatus.PROCESSED]
    rows = [(file_name(f), f.sha256, to_microseconds(f.processed_at)) for f in processed]
    await journal.remember_imported(rows, source)
    told = {"count": str(len(rows))}
    event = Noticed("state_imported", severity_of("state_imported"), source, told, by)
    await journal.record([Record(None, event)])
