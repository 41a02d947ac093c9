"""A journal and its handoff folder know each other: no intent waits for ever, or runs twice.

The handoff has the claimed files, the journal knows what became of them. With another partner
either would look as if everything were new, or done.
"""

from __future__ import annotations

import logging
import secrets

from conductor_loop.adapters.handoff.claims import unreadable
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.ordinals import claims_in
from conductor_loop.adapters.handoff.pairing import (
    Pairing,
    as_text,
    from_text,
    pairing_of,
    record_pairing,
    recorded_pairing,
)
from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.adapters.journal.writer import SqliteJournal
from conductor_loop.core.faults import CannotStart

_log = logging.getLogger("conductor_loop")
_HANDOFF = "handoff"
"""The fact of the journal that says which handoff it serves."""


async def pair(layout: Layout, journal: SqliteJournal) -> None:
    """Go on with this pair, or make it one. Raises CannotStart and DurabilityLost.

    Refused is another pair of which something is unfinished. Where one of the two has no id and
    stands where the other says, it was lost or made anew there, and what is left is gone on with.
    """
    ours, theirs = _recorded(layout, journal)
    if ours is not None and theirs is not None and ours.id == theirs.id:
        await _write(layout, journal, ours.id)  # the paths, should they have moved
        return
    require_pair(layout, journal)
    if ours is not None or theirs is not None:
        _log.warning(
            "%s and the journal in %s belong together from now on; before: %s",
            layout.path,
            layout.state_path,
            " and ".join(_told(layout, ours, theirs)),
        )
    await join(layout, journal)


def require_pair(layout: Layout, journal: SqliteJournal) -> None:
    """Refuse, as `pair` does, what belongs to others, and write nothing. Raises CannotStart."""
    ours, theirs = _recorded(layout, journal)
    if _is_of_others(layout, ours, theirs):
        _require_nothing_open(layout, journal.reader, ours, theirs)


async def join(layout: Layout, journal: SqliteJournal) -> None:
    """Make a pair of these two, whatever was before. Raises CannotStart and DurabilityLost."""
    await _write(layout, journal, secrets.token_hex(16))


async def _write(layout: Layout, journal: SqliteJournal, pairing_id: str) -> None:
    wanted = pairing_of(layout, pairing_id)
    ours, theirs = _recorded(layout, journal)
    # Who has an id gets the new one first: killed in between, the next start finds the other one
    # without, and where it should be.
    if ours is not None and ours != wanted:
        record_pairing(layout, wanted)
    if theirs != wanted:
        await journal.remember(_HANDOFF, as_text(wanted))
    if ours is None:
        record_pairing(layout, wanted)


def _recorded(layout: Layout, journal: SqliteJournal) -> tuple[Pairing | None, Pairing | None]:
    return recorded_pairing(layout), from_text(journal.reader.fact(_HANDOFF))


def _is_of_others(layout: Layout, ours: Pairing | None, theirs: Pairing | None) -> bool:
    if ours is not None and theirs is not None:
        return ours.id != theirs.id
    here = pairing_of(layout, "")
    is_of_other_journal = ours is not None and ours.state_dir != here.state_dir
    return is_of_other_journal or (theirs is not None and theirs.handoff != here.handoff)


def _require_nothing_open(
    layout: Layout, reader: JournalReader, ours: Pairing | None, theirs: Pairing | None
) -> None:
    try:
        claims = claims_in(layout.claimed)
    except OSError as error:
        raise unreadable(error) from error
    if not claims and not _has_more_to_do(reader):
        return
    why = " and ".join(_told(layout, ours, theirs))
    raise CannotStart(
        f"{layout.path} and the journal in {layout.state_path} do not belong together: {why}, "
        "and something is unfinished",
        hint="start once with those that do, until all is final, and give each -handoff a "
        "-state-dir of its own; where the former journal is lost, `conductor-loop state rebuild` "
        "makes one from what the handoff holds",
        code="other_journal",
    )


def _told(layout: Layout, ours: Pairing | None, theirs: Pairing | None) -> list[str]:
    told = []
    if ours is not None:
        told.append(f"{layout.path} was served with the journal in {ours.state_dir}")
    if theirs is not None:
        told.append(f"the journal in {layout.state_path} served {theirs.handoff}")
    return told


def _has_more_to_do(reader: JournalReader) -> bool:
    """Whether an intent is not final, or a view of one not in line."""
    untold = reader.after(reader.position(), reader.last_seq() + 1)
    is_behind = any(entry.intent_id is not None for entry in untold)
    return bool(reader.unfinished() or reader.parked()) or is_behind
