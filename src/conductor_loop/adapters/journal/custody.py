"""What stands between the journal's writer and its file: keys, the count, and the look at start."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import apsw
from msgspec.structs import replace

from conductor_loop.adapters.journal.data_keys import (
    KeyRotation,
    Sealing,
    first_keys,
    unlock_for_writing,
)
from conductor_loop.adapters.journal.database import (
    ANCHOR_SUFFIX,
    FILE_NAME,
    open_for_reading,
)
from conductor_loop.adapters.journal.first_look import look_at_start
from conductor_loop.adapters.journal.ledger import (
    Anchor,
    Count,
    Found,
    Ledger,
    altered_sides,
    begin_count,
    check_age,
    check_rows,
    not_whole,
    quick_count,
    read_count,
    side_sums,
    untrusted,
    write_count,
)
from conductor_loop.adapters.journal.opening import UNREADABLE, unreadable
from conductor_loop.adapters.journal.sealing import Clear, Sealer, Vault
from conductor_loop.adapters.journal.side_rows import Change
from conductor_loop.adapters.journal.switching import switch_if_asked
from conductor_loop.core.faults import CannotStart, JournalDamaged

_log = logging.getLogger("conductor_loop.journal")


class Custody:
    """Seals what is written and keeps count of it."""

    sealer: Sealer

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection,
        vault: Vault,
        anchor: Anchor,
        rotation: KeyRotation,
    ) -> None:
        self._path = path
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

    def recount(self) -> str:
        """Count everything, on any thread; what is missing or exchanged, empty for nothing.

        Raises JournalDamaged, and CannotStart where the journal alone is gone.
        """
        try:
            with contextlib.closing(open_for_reading(self._path)) as connection, connection:
                fault = not_whole(connection, self._vault)
        except CannotStart:
            if self._path.parent.exists():
                raise
            return ""  # its folder is away, which others tell; the next round counts
        except UNREADABLE as error:
            raise unreadable(error) from error
        return fault

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

    def recount(self) -> str:
        """Nothing to compare with."""
        return ""

    def close(self) -> None:
        """There is nothing to let go of."""


def begin_sealed(connection: apsw.Connection, state_dir: Path, sealing: Sealing, at: int) -> None:
    """Seal a new journal from its first row on, inside the transaction that makes it."""
    if sealing.enabled:
        begin_count(connection, first_keys(connection, state_dir, sealing.kek_file, at))


def take_custody(
    connection: apsw.Connection, state_dir: Path, sealing: Sealing, at: int, *, is_copy: bool
) -> Custody:
    """Unlock a journal and look at all that a daemon would act on.

    What cannot be trusted is set aside and told. With `is_copy` there is no anchor yet.
    Raises CannotStart: no key, an old copy, rows missing.
    """
    vault = _unlock(connection, state_dir, sealing, at)
    if isinstance(vault, Clear):
        with connection:
            look_at_start(connection, vault, at, altered=(), is_all=False)
        return NoCustody()
    anchor = Anchor(state_dir / f"{FILE_NAME}{ANCHOR_SUFFIX}")
    try:
        # Once: a long past takes most of a start to count.
        found = quick_count(connection)
        count = _check(connection, vault, anchor, found, is_copy=is_copy)
        with connection:
            _look_and_count(connection, vault, at, count, found)
        rotation = KeyRotation(connection, vault, state_dir, sealing)
        return Custody(state_dir / FILE_NAME, connection, vault, anchor, rotation)
    except BaseException:
        anchor.close()
        raise


def _look_and_count(
    connection: apsw.Connection, vault: Vault, at: int, count: Count, found: Found
) -> None:
    """Set aside what cannot be trusted; from then on what is there is what there must be."""
    altered = altered_sides(count, side_sums(connection, vault))
    differs = found.unfinished != count.unfinished  # whoever it was is set aside
    is_all = differs or "damaged" in altered
    change = look_at_start(connection, vault, at, altered=altered, is_all=is_all)
    sides = side_sums(connection, vault)
    if differs or sides != count.sides or change.events:
        renewed = replace(
            count,
            commits=count.commits + 1,
            events=count.events + change.events,
            unfinished=found.unfinished,
            uses=count.uses + vault.sealed + 1,
            sides=sides,
        )
        write_count(connection, vault, renewed)


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


def _check(
    connection: apsw.Connection, vault: Vault, anchor: Anchor, found: Found, *, is_copy: bool
) -> Count:
    count, anchored = _trusted_count(connection, vault), anchor.read(vault)
    check_age(count, anchored)
    check_rows(count, found)
    if anchored is None and count.commits > 1 and not is_copy:
        _log.warning("the journal's anchor is missing: whether this is an old copy cannot be told")
    return count


def _trusted_count(connection: apsw.Connection, vault: Vault) -> Count:
    try:
        return read_count(connection, vault)
    except JournalDamaged as error:
        raise untrusted(error.message) from error
