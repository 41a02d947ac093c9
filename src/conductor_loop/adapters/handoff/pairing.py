"""Which journal serves this handoff folder, on record in its `.conductor`."""

from __future__ import annotations

import os

import msgspec

from conductor_loop.adapters.handoff.kept_records import read_record, write_record
from conductor_loop.adapters.handoff.layout import Layout

_RECORD = b"journal-id"


class Pairing(msgspec.Struct, frozen=True):
    """A handoff folder and a journal that belong together; both keep it.

    The id counts. The paths are for messages, and for when one of the two has no id.
    """

    id: str
    handoff: str
    state_dir: str


def pairing_of(layout: Layout, pairing_id: str) -> Pairing:
    """Where the two are now; bytes of a path that are no UTF-8 as `\\xNN`."""
    return Pairing(pairing_id, _plain(layout.path), _plain(layout.state_path))


def _plain(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def as_text(pairing: Pairing) -> str:
    """Write a pairing as it is kept."""
    return msgspec.json.encode(pairing).decode()


def from_text(text: str | bytes | None) -> Pairing | None:
    """Read one; None when there is none that can be read."""
    try:
        return msgspec.json.decode(text or "", type=Pairing)
    except msgspec.MsgspecError:
        return None


def recorded_pairing(layout: Layout) -> Pairing | None:
    """What the handoff folder keeps. Raises CannotStart."""
    return from_text(read_record(layout.conductor, _RECORD, _inside(layout)))


def record_pairing(layout: Layout, pairing: Pairing) -> None:
    """Have the handoff folder keep it. Raises CannotStart and DurabilityLost."""
    data = as_text(pairing).encode() + b"\n"
    write_record(layout.conductor, _RECORD, data, _inside(layout))


def _inside(layout: Layout) -> str:
    return f"{layout.path}/.conductor"
