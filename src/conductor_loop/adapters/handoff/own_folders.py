"""Making and opening the folders that are ours, each refusal with its reason and remedy."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from conductor_loop import disk
from conductor_loop.core.detection.modes import ModeChanged
from conductor_loop.core.faults import CannotStart

PRIVATE, OTHERS = 0o700, 0o077
_PERMISSIONS, _OTHERS_WRITE = 0o777, 0o022
STATE_NAME = b".conductor"


class Place(NamedTuple):
    """One folder of ours: under which field it is kept, inside which other, by which name."""

    field: str
    parent: str
    name: bytes
    is_private: bool


PLACES = (
    Place("processed", "handoff", b"processed", is_private=False),
    Place("failed", "handoff", b"failed", is_private=False),
    Place("status", "handoff", b"status", is_private=False),
    Place("history", "status", b"history", is_private=False),
    Place("conductor", "handoff", STATE_NAME, is_private=True),
    Place("claimed", "conductor", b"claimed", is_private=True),
    Place("quarantine", "conductor", b"quarantine", is_private=True),
)
OWN_NAMES = frozenset(place.name for place in PLACES if place.parent == "handoff")
"""Names in the handoff folder that are ours."""
NO_STATE_IN = OWN_NAMES - {STATE_NAME} | frozenset(
    STATE_NAME + b"/" + place.name for place in PLACES if place.parent == "conductor"
)
"""Those, and what is in them, that are for files handed over and verdicts alone."""


def make_handoff(given: Path, mode: int) -> str:
    """Create the folder if there is none, and resolve symlinks this once.

    The mode of one that is there is its owner's business.
    """
    is_new = not os.path.exists(given)
    if is_new and os.path.islink(given):
        raise refused(
            "handoff_dangling",
            f"{given} is a symlink to {os.readlink(given)}, where nothing is",
            "mount or create what it points to",
        )
    try:
        os.makedirs(given, exist_ok=True)
        if is_new:
            os.chmod(given, mode)
    except OSError as error:
        raise uncreated("handoff", os.fspath(given), error) from error
    path = os.path.realpath(given)
    if is_new:
        _sync_parent(path)
    return path


def open_handoff(path: str) -> int:
    """Open a folder whose path was resolved before; a symlink anywhere in it is refused."""
    try:
        handle = disk.open_folder(path)
    except OSError as error:
        raise _unopened(path, os.path.islink(path), error) from error
    if os.path.realpath(path) != path:
        os.close(handle)
        raise refused(
            "folder_is_symlink",
            f"{path} now leads through a symlink",
            "restart to serve where it leads, or put the folder back",
        )
    return writable(handle, path)


def open_places(
    handoff: int, path: str, mode: int, opened: contextlib.ExitStack
) -> tuple[dict[str, int], list[ModeChanged]]:
    """Open each folder of ours, making the missing ones durably; `mode` is for the public ones.

    Returns them by field, and which were open to others before. Raises CannotStart.
    """
    handles = {"handoff": handoff}
    paths = {"handoff": path}
    changed: set[str] = set()
    closed: list[ModeChanged] = []
    for place in PLACES:
        inside = handles[place.parent]
        shown = paths[place.field] = f"{paths[place.parent]}/{os.fsdecode(place.name)}"
        if _made(inside, place, mode, shown):
            changed.add(place.parent)
        handles[place.field] = _open_place(inside, place, shown)
        opened.callback(os.close, handles[place.field])
        if place.is_private:
            closed += make_private(handles[place.field], inside, shown)
    _require_one_device(handles, paths)
    disk.sync_each([handles[field] for field in sorted(changed)])
    del handles["handoff"]
    return handles, closed


def _sync_parent(path: str) -> None:
    try:
        parent = disk.open_folder(os.path.dirname(path))
    except PermissionError:  # may be written, not read: then it cannot be synced either
        return
    try:
        disk.sync(parent)
    finally:
        os.close(parent)


def _made(inside: int, place: Place, mode: int, shown: str) -> bool:
    try:
        os.mkdir(place.name, PRIVATE, dir_fd=inside)
        if not place.is_private:
            os.chmod(place.name, mode, dir_fd=inside)
    except FileExistsError:
        return False
    except OSError as error:
        raise uncreated(os.fsdecode(place.name), shown, error) from error
    return True


def _open_place(inside: int, place: Place, shown: str) -> int:
    try:
        handle = disk.open_folder(place.name, inside=inside)
    except OSError as error:
        status = os.stat(place.name, dir_fd=inside, follow_symlinks=False)
        raise _unopened(shown, stat.S_ISLNK(status.st_mode), error) from error
    return writable(handle, shown)


def make_private(
    handle: int, inside: int, shown: str, closed: int = OTHERS
) -> Sequence[ModeChanged]:
    """Close an open folder to others, and tell if it was not: else they could swap what is in it.

    `inside` is the open handoff folder, `closed` the permissions that others may not have.
    Raises CannotStart: somebody else's, and one that everybody may write to for good.
    """
    status = os.fstat(handle)
    trusted = {os.geteuid(), 0}  # who is root needs no folder to swap a file
    if os.geteuid() == 0:  # root may go on with what the folder's own user began
        trusted.add(os.fstat(inside).st_uid)
    if status.st_uid not in trusted:
        raise not_ours(shown, status.st_uid, os.geteuid())
    changed = put_back(shown, handle, closed)
    if os.fstat(handle).st_mode & stat.S_IWOTH:
        raise refused(
            "folder_not_private",
            f"{shown} may be written by everybody, and is not uid {os.geteuid()}'s to close",
            f"chmod 700 {shown}, and chown it to uid {os.geteuid()}",
        )
    return changed


def closed_bits(handoff: str, state_path: str) -> int:
    """The permissions that nobody may have on a state dir: one around the handoff lets pass."""
    return _OTHERS_WRITE if handoff.startswith(f"{state_path.rstrip('/')}/") else OTHERS


def put_back(shown: str, handle: int, closed: int, opened: int = 0) -> Sequence[ModeChanged]:
    """Take these permissions from an open folder and give it those; tell if that changed it.

    One of somebody else's stays as it is.
    """
    facts = os.fstat(handle)
    found = stat.S_IMODE(facts.st_mode) & _PERMISSIONS
    now = found & ~closed | opened
    if found == now or os.geteuid() not in (facts.st_uid, 0):
        return ()
    os.fchmod(handle, now)
    return (ModeChanged(shown, found, now),)


def not_ours(shown: str, owner: int, daemon: int) -> CannotStart:
    """Word that a folder of ours belongs to somebody who could swap what is claimed."""
    return refused(
        "folder_not_ours",
        f"{shown} belongs to uid {owner}, who could swap claimed files",
        "run as that user; if that is no daemon of yours, stop it and move the folder away, but"
        f" keep it (journal and keys are in there): a folder of uid {daemon} is made there",
    )


def writable(handle: int, shown: str) -> int:
    """Pass an open folder on, or close and refuse it when this user cannot work in it."""
    if os.access(b".", os.R_OK | os.W_OK | os.X_OK, dir_fd=handle, effective_ids=True):
        return handle
    hint = f"change its owner or mode, or run as its owner{run_as_owner(os.fstat(handle))}"
    os.close(handle)
    raise refused(
        "folder_not_writable",
        f"{shown} may not be read and written by uid {os.geteuid()}",
        f"{hint}; a read-only mount will not do",
    )


def run_as_owner(status: os.stat_result) -> str:
    """How a container is run as a folder's owner; one that root owns is better made anew."""
    if status.st_uid == 0:
        return ' (container: make the folder yourself before, then --user "$(id -u):$(id -g)")'
    return f" (container: --user {status.st_uid}:{status.st_gid})"


def _require_one_device(handles: dict[str, int], paths: dict[str, str]) -> None:
    if os.fstat(handles["claimed"]).st_dev == os.fstat(handles["handoff"]).st_dev:
        return
    raise refused(
        "claims_on_other_device",
        f"{paths['claimed']} is on another file system than {paths['handoff']}",
        "a claim is a rename and cannot cross; to keep the state elsewhere use -state-dir",
    )


def refused(code: str, message: str, hint: str) -> CannotStart:
    """Word why the daemon cannot start, or cannot go on, with a folder."""
    return CannotStart(message, hint=hint, code=code)


def uncreated(what: str, shown: str, error: OSError) -> CannotStart:
    """Word why a folder cannot be made."""
    # The original's words, which are Go's: `mkdir handoff: permission denied`.
    reason = (error.strerror or str(error)).lower()
    return refused(
        "folder_not_created",
        f"Failed to create {what} directory: mkdir {os.path.normpath(shown)}: {reason}",
        "move away what stands there, or name another folder"
        if isinstance(error, FileExistsError | NotADirectoryError)
        else "make sure that this user may write there, or create the folder for it",
    )


def _unopened(shown: str, is_symlink: bool, error: OSError) -> CannotStart:
    if is_symlink:
        return refused(
            "folder_is_symlink",
            f"{shown} is a symlink",
            "remove it: what it points to could be swapped; a folder is made in its place",
        )
    return refused(
        "folder_not_usable",
        f"{shown} cannot be opened as a folder: {error.strerror}",
        "move away what stands there, or let this user read it",
    )
