"""Which handoffs an inbox is divided among, on record, so that another division is noticed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from conductor_loop import disk
from conductor_loop.adapters.handoff.copies import Copies
from conductor_loop.adapters.handoff.kept_records import read_record, write_record
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.core.distribution import Parcel
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import is_intent_name
from conductor_loop.core.places import read_claimed

RECORD = b"distribution.json"


class Division(msgspec.Struct, frozen=True):
    """The handoffs, by ordinal."""

    handoffs: tuple[str, ...]


def is_divided(state_dir: Path) -> bool:
    """Tell whether a distributor was at the inbox of this state dir, as far as one may see."""
    return os.path.exists(state_dir / os.fsdecode(RECORD))


def settle_division(layout: Layout, handoffs: Sequence[str], copies: Copies) -> list[Parcel]:
    """Put the handoffs on record; others than last time only once those are drained.

    What a dead distributor was about to do is brought to its end first; returned is what has to
    wait for that, oldest first. Raises CannotStart and DurabilityLost.
    """
    known, wanted = _recorded(layout), Division(tuple(handoffs))
    before = known.handoffs if known is not None else ()
    waiting = {path: _finished(copies, path) for path in dict.fromkeys((*before, *handoffs))}
    if known != wanted:
        for path in before:
            _require_drained(path, waiting[path])
        write_record(layout.state, RECORD, msgspec.json.encode(wanted), layout.state_path)
    return [parcel for path in handoffs for parcel in waiting[path]]


def unfinished_in(handoff: int) -> int:
    """How many files wait or are claimed in an open handoff: none is left when all are final.

    A daemon keeps a claim until its file is filed. Intents without a file, which are those that
    somebody retried by hand, are not seen. Raises OSError.
    """
    with os.scandir(handoff) as entries:  # a folder is left alone by every daemon
        waiting = sum(
            is_intent_name(os.fsencode(entry.name)) and not entry.is_dir(follow_symlinks=False)
            for entry in entries
        )
    try:
        claimed = disk.open_folder(b".conductor/claimed", inside=handoff)
    except FileNotFoundError:  # no daemon has been there
        return waiting
    try:
        return waiting + claims_in(claimed)
    finally:
        os.close(claimed)


def claims_in(claimed: int) -> int:
    """How many files stand claimed in an open `claimed/`. Raises OSError."""
    return sum(_is_claim(claimed, name) for name in os.listdir(claimed))


def _is_claim(claimed: int, entry: str) -> bool:
    _, name = read_claimed(os.fsencode(entry)) or ("", b"")
    return is_intent_name(name) if name else bool(_listed(claimed, entry))


def _listed(folder: int, name: str) -> list[str]:
    try:
        inner = disk.open_folder(name, inside=folder)
    except (FileNotFoundError, NotADirectoryError):  # its file was filed meanwhile
        return []
    try:
        return os.listdir(inner)
    finally:
        os.close(inner)


def _finished(copies: Copies, path: str) -> list[Parcel]:
    handle = _opened(path)
    try:
        return copies.finish(handle, path)
    except OSError as error:
        raise _unknown(path, error) from error
    finally:
        os.close(handle)


def _require_drained(path: str, arriving: Sequence[Parcel]) -> None:
    handle = _opened(path)
    try:
        left = unfinished_in(handle) + len(arriving)
    except OSError as error:
        raise _unknown(path, error) from error
    finally:
        os.close(handle)
    if left:
        raise CannotStart(
            f"other handoffs are given than before, and {left} intents of {path} are not finished",
            hint="let the daemons finish with the handoffs of before, then start again",
            code="not_drained",
        )


def _opened(path: str) -> int:
    try:
        return disk.open_folder(path)
    except OSError as error:
        raise _unknown(path, error) from error


def _unknown(path: str, error: OSError) -> CannotStart:
    return CannotStart(
        f"cannot tell what is left in the handoff {path}: {error.strerror}",
        hint=f"put it back, run as its daemon's user, or remove {os.fsdecode(RECORD)} in the state "
        "dir of the inbox if you know that nothing is left",
        code="not_drained",
    )


def _recorded(layout: Layout) -> Division | None:
    data = read_record(layout.state, RECORD, layout.state_path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Division)
    except msgspec.DecodeError as error:
        raise CannotStart(
            f"{layout.state_path}/{os.fsdecode(RECORD)} cannot be read: {error}",
            hint="remove it if you know that nothing is left in the handoffs of before",
            code="not_drained",
        ) from error
