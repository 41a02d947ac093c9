"""Where the file of a finished intent lies: the few words the journal keeps, and their paths."""

from __future__ import annotations

from enum import StrEnum

from conductor_loop.core.naming import collision_name


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
