"""Which inbox this is, on record in its state dir."""

from __future__ import annotations

import os
from datetime import datetime

from conductor_loop.adapters.handoff.kept_records import read_record, write_record
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.identity import is_ulid, ulid

_IDENTITY = b"inbox-id"


def identity_of(layout: Layout, now: datetime) -> str:
    """Tell which inbox this is: a ULID, made at the first start. Raises CannotStart.

    Not its path, which may lead to another inbox tomorrow.
    """
    recorded = read_record(layout.state, _IDENTITY, layout.state_path)
    if recorded is None:
        fresh = ulid(int(now.timestamp() * 1_000), int.from_bytes(os.urandom(10)))
        write_record(layout.state, _IDENTITY, fresh.encode(), layout.state_path)
        return fresh
    inbox = recorded.decode(errors="replace").strip()
    if not is_ulid(inbox):
        raise CannotStart(
            f"{layout.state_path}/{os.fsdecode(_IDENTITY)} has no id in it",
            hint="copies of this inbox in its handoffs are called .arriving-ID-...: put ID there, "
            "or remove the file if there are none",
            code="record_unreadable",
        )
    return inbox
