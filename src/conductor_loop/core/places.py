"""Where the file of an intent lies: while it is claimed, and when it is finished."""

from __future__ import annotations

from enum import StrEnum

from conductor_loop.core.identity import ULID_LENGTH, is_ulid
from conductor_loop.core.naming import LONGEST_NAME, collision_name

# `ID.NAME` must be a name itself.
_LONGEST_BESIDE_ID = LONGEST_NAME - ULID_LENGTH - 1


class Place(StrEnum):
    """What the journal's `filed` column may hold. `+id` means: under `STEM.ID.json`."""

    PROCESSED = "processed"
    PROCESSED_ID = "processed+id"
    FAILED = "failed"
    FAILED_ID = "failed+id"
    QUARANTINE = "quarantine"
    NOWHERE = ""
    """No file of its own: a retry, whose file stays where the first try left it; or a claim that
    somebody removed."""
    GONE = "gone"
    """Removed when its retention was over."""


_FOLDERS = {
    Place.PROCESSED: b"processed",
    Place.PROCESSED_ID: b"processed",
    Place.FAILED: b"failed",
    Place.FAILED_ID: b"failed",
}


def filed_name(place: Place, name: bytes, intent_id: str) -> bytes:
    """The name that a file handed over as `name` has at its place."""
    if place in (Place.PROCESSED_ID, Place.FAILED_ID):
        return collision_name(name, intent_id)
    return name


def filed_path(place: Place, name: bytes, intent_id: str) -> bytes | None:
    """The path of the file relative to the handoff folder; None when it has none."""
    if place in (Place.NOWHERE, Place.GONE):
        return None
    if place is Place.QUARANTINE:
        return b"/".join((b".conductor/quarantine", intent_id.encode(), name))
    return _FOLDERS[place] + b"/" + filed_name(place, name, intent_id)


def needs_folder(name: bytes) -> bool:
    """Tell whether a claim of this name stands in a folder of its own: the name is too long."""
    return len(name) > _LONGEST_BESIDE_ID


def claimed_path(intent_id: str, name: bytes) -> bytes:
    """Where a claimed file stands in `claimed/`: as `ID.NAME`, or `ID/NAME` with a long name."""
    return intent_id.encode() + (b"/" if needs_folder(name) else b".") + name


def read_claimed(entry: bytes) -> tuple[str, bytes] | None:
    """Read a name found in `claimed/`: id and file name, or None when it is no claim's.

    The name is empty where the id has a folder.
    """
    intent_id, rest = entry[:ULID_LENGTH].decode("ascii", "replace"), entry[ULID_LENGTH:]
    if not is_ulid(intent_id) or rest[:1] not in (b"", b".") or rest == b".":
        return None
    return intent_id, rest[1:]
