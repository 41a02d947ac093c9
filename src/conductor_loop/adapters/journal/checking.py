"""A whole look at a journal that nobody writes to: a copy, a backup."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import apsw

from conductor_loop.adapters.journal.data_keys import unlock
from conductor_loop.adapters.journal.database import FILE_NAME, open_for_reading
from conductor_loop.adapters.journal.integrity import faults_at_start
from conductor_loop.adapters.journal.ledger import not_whole, quick_count, read_count
from conductor_loop.adapters.journal.opening import UNREADABLE, Opener, unreadable
from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.adapters.journal.sealing import Vault
from conductor_loop.core.faults import JournalDamaged


@dataclass(frozen=True, slots=True)
class Census:
    """How much is in a journal."""

    last_seq: int
    intents: int
    events: int
    unfinished: int
    commits: int
    """0 for a journal in clear."""
    is_sealed: bool


def check_journal(folder: Path, kek_file: Path | None) -> Census:
    """Read everything in the journal of a folder. Raises CannotStart, JournalDamaged."""
    with contextlib.closing(open_for_reading(folder / FILE_NAME)) as connection:
        try:
            return _check(connection, folder, kek_file)
        except UNREADABLE as error:
            raise unreadable(error) from error


def _check(connection: apsw.Connection, folder: Path, kek_file: Path | None) -> Census:
    if connection.execute("PRAGMA integrity_check").get != "ok":
        raise JournalDamaged("SQLite finds the journal damaged")
    sealer = unlock(connection, folder, kek_file)
    for seq, why in faults_at_start(connection, Opener(sealer), all_of_them=True):
        raise JournalDamaged(f"entry {seq} of the journal cannot be trusted: {why}")
    commits = _counted(connection, sealer) if isinstance(sealer, Vault) else 0
    found = quick_count(connection)
    return Census(
        last_seq=JournalReader(connection, sealer).last_seq(),
        intents=found.intents,
        events=found.events,
        unfinished=found.unfinished,
        commits=commits,
        is_sealed=isinstance(sealer, Vault),
    )


def _counted(connection: apsw.Connection, vault: Vault) -> int:
    fault = not_whole(connection, vault)
    if fault:
        raise JournalDamaged(f"the journal is not whole: {fault}")
    return read_count(connection, vault).commits
