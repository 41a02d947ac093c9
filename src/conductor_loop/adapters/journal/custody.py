"""What stands between the journal's writer and its file: keys, the count, and the look at start."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import apsw

from conductor_loop.adapters.journal.data_keys import (
    KeyRotation,
    Sealing,
    first_keys,
    unlock_for_writing,
)
from conductor_loop.adapters.journal.database import FILE_NAME, open_for_reading
from conductor_loop.adapters.journal.integrity import faults_at_start
from conductor_loop.adapters.journal.ledger import (
    ANCHOR_SUFFIX,
    Anchor,
    Count,
    Found,
    Ledger,
    actual_count,
    begin_count,
    check_age,
    check_rows,
    exchanged_rows,
    missing_rows,
    quick_count,
    read_count,
    untrusted,
)
from conductor_loop.adapters.journal.opening import UNREADABLE, Opener, unreadable
from conductor_loop.adapters.journal.rows import Change
from conductor_loop.adapters.journal.sealing import Clear, Sealer, Vault
from conductor_loop.adapters.journal.switching import switch_if_asked
from conductor_loop.core.faults import CannotStart, JournalDamaged

_log = logging.getLogger("conductor_loop.journal")
SET_ASIDE = "INSERT OR IGNORE INTO damaged (seq, why, at) VALUES (?, ?, ?)"


class Custody:
    """Seals what is written and keeps count of it."""

    sealer: Sealer

    def __init__(
        self, connection: apsw.Connection, vault: Vault, anchor: Anchor, rotation: KeyRotation
    ) -> None:
        self.sealer = self._vault = vault
        self._anchor = anchor
        self._rotation = rotation
        count = read_count(connection, vault)
        vault.sealed = count.uses
        self._ledger = Ledger(vault, count, anchor)

    def change_key_when_due(self, at: int) -> None:
        """Have a new data key seal what comes now, if it is time (microseconds since 1970)."""
        if self._rotation.is_due(at):
            self._rotation.rotate(at)

    def count(self, connection: apsw.Connection, change: Change) -> Count | None:
        """Put what a transaction changes into its count; `settle` it once that is committed."""
        return self._ledger.write(connection, change)

    def settle(self, count: Count | None) -> None:
        """The transaction is on disk."""
        if count is not None:
            self._ledger.settle(count)

    def recount(self, path: Path) -> str:
        """Count everything, on any thread; what is missing or exchanged, empty for nothing.

        Raises JournalDamaged.
        """
        try:
            with contextlib.closing(open_for_reading(path)) as connection, connection:
                count = read_count(connection, self._vault)
                found = actual_count(connection, self._vault)
        except UNREADABLE as error:
            raise unreadable(error) from error
        if exchanged_rows(count, found):
            return missing_rows(count, found) or "intents were exchanged for others"
        return missing_rows(count, found)

    def close(self) -> None:
        """Let go of the anchor."""
        self._anchor.close()


class NoCustody(Custody):
    """Encryption is off: nothing is sealed, and nothing counted."""

    def __init__(self) -> None:
        self.sealer = Clear()

    def change_key_when_due(self, at: int) -> None:
        """There is none."""

    def count(self, connection: apsw.Connection, change: Change) -> Count | None:
        """Nothing vouches for a count that anybody could write."""

    def recount(self, path: Path) -> str:
        """Nothing to compare with."""
        return ""

    def close(self) -> None:
        """There is nothing to let go of."""


def begin_sealed(connection: apsw.Connection, state_dir: Path, sealing: Sealing, at: int) -> None:
    """Seal a new journal from its first row on, inside the transaction that makes it."""
    if sealing.enabled:
        begin_count(connection, first_keys(connection, state_dir, sealing.kek_file, at))


def take_custody(
    connection: apsw.Connection, state_dir: Path, sealing: Sealing, at: int
) -> Custody:
    """Unlock a journal and look at all that a daemon would act on.

    What cannot be trusted is set aside. Raises CannotStart: no key, an old copy, rows missing.
    """
    vault = _unlock(connection, state_dir, sealing, at)
    if isinstance(vault, Clear):
        _set_aside_at_start(connection, vault, at, all_of_them=False)
        return NoCustody()
    anchor = Anchor(state_dir / f"{FILE_NAME}{ANCHOR_SUFFIX}")
    try:
        # Once: a long past takes most of a start to count.
        found = quick_count(connection)
        count = _check(connection, vault, anchor, found)
        differs = found.unfinished != count.unfinished
        _set_aside_at_start(connection, vault, at, all_of_them=differs)
        if differs:  # whoever it was is set aside by now
            with connection:
                begin_count(connection, vault, count.commits + 1)
        rotation = KeyRotation(connection, vault, state_dir, sealing)
        return Custody(connection, vault, anchor, rotation)
    except BaseException:
        anchor.close()
        raise


def _unlock(
    connection: apsw.Connection, state_dir: Path, sealing: Sealing, at: int
) -> Vault | Clear:
    sealer = unlock_for_writing(connection, state_dir, sealing.kek_file)
    try:
        return switch_if_asked(connection, state_dir, sealing, sealer, at)
    except JournalDamaged as error:
        raise CannotStart(
            f"the encryption of the journal cannot be switched: {error.message}",
            code="cannot_switch",
            hint="start with the setting as it was: what is damaged is set aside; then discard it",
        ) from error


def _check(connection: apsw.Connection, vault: Vault, anchor: Anchor, found: Found) -> Count:
    count, anchored = _trusted_count(connection, vault), anchor.read(vault)
    check_age(count, anchored)
    check_rows(count, found)
    if anchored is None and count.commits > 1:
        _log.warning("the journal's anchor is missing: whether this is an old copy cannot be told")
    return count


def _trusted_count(connection: apsw.Connection, vault: Vault) -> Count:
    try:
        return read_count(connection, vault)
    except JournalDamaged as error:
        raise untrusted(error.message) from error


def _set_aside_at_start(
    connection: apsw.Connection, sealer: Sealer, at: int, *, all_of_them: bool
) -> None:
    faults = list(faults_at_start(connection, Opener(sealer), all_of_them=all_of_them))
    if not faults:
        return
    with connection:
        connection.executemany(SET_ASIDE, [(seq, why, at) for seq, why in faults])
    for seq, why in faults:
        intent_id = connection.execute("SELECT id FROM intents WHERE seq = ?", (seq,)).get
        _log.error("set aside, and not run: %s: %s", intent_id or f"entry {seq}", why)
