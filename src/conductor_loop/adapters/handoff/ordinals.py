"""Which handoffs an inbox is divided among, on record, so that another division is noticed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from conductor_loop import disk
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.adapters.handoff.passing_on import finish_copies
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.naming import is_intent_name

RECORD = b"distribution.json"
_NEXT = b".distribution.json.new"
_LONGEST = 1 << 20


class Division(msgspec.Struct, frozen=True):
    """The handoffs, by ordinal."""

    handoffs: tuple[str, ...]


def is_divided(state_dir: Path) -> bool:
    """Tell whether a distributor was at the inbox of this state dir, as far as one may see."""
    return os.path.exists(state_dir / os.fsdecode(RECORD))


def settle_division(layout: Layout, handoffs: Sequence[str]) -> None:
    """Put the handoffs on record; others than last time only once those are drained.

    What a dead distributor was about to do is brought to its end first. Raises CannotStart.
    """
    known, wanted = _recorded(layout), Division(tuple(handoffs))
    before = known.handoffs if known is not None else ()
    for path in dict.fromkeys((*before, *handoffs)):
        _finish(layout, path)
    if known == wanted:
        return
    for path in before:
        _require_drained(path)
    _record(layout.state, wanted)


def unfinished_in(handoff: int) -> int:
    """How many files wait or are claimed in an open handoff: none is left when all are final.

    A daemon keeps a claim until its file is filed. Intents without a file, which are those that
    somebody retried by hand, are not seen. Raises OSError.
    """
    waiting = sum(is_intent_name(os.fsencode(name)) for name in os.listdir(handoff))
    try:
        claimed = disk.open_folder(b".conductor/claimed", inside=handoff)
    except FileNotFoundError:  # no daemon has been there
        return waiting
    try:
        return waiting + sum(bool(_listed(claimed, name)) for name in os.listdir(claimed))
    finally:
        os.close(claimed)


def _listed(folder: int, name: str) -> list[str]:
    try:
        inner = disk.open_folder(name, inside=folder)
    except (FileNotFoundError, NotADirectoryError):  # a daemon used it for its next claim
        return []
    try:
        return os.listdir(inner)
    finally:
        os.close(inner)


def _finish(layout: Layout, path: str) -> None:
    handle = _opened(path)
    try:
        finish_copies(layout, handle, path)
    finally:
        os.close(handle)


def _require_drained(path: str) -> None:
    handle = _opened(path)
    try:
        left = unfinished_in(handle)
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
    path = Path(layout.state_path) / os.fsdecode(RECORD)
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_LONGEST), type=Division)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise CannotStart(
            f"{path} cannot be read: {error}",
            hint="remove it if you know that nothing is left in the handoffs of before",
            code="not_drained",
        ) from error


def _record(state: int, division: Division) -> None:
    handle = os.open(
        _NEXT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=state
    )
    try:
        os.write(handle, msgspec.json.encode(division))
        disk.sync(handle)
    finally:
        os.close(handle)
    os.rename(_NEXT, RECORD, src_dir_fd=state, dst_dir_fd=state)
    disk.sync(state)
