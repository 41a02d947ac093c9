"""Claims that an older daemon left in a folder each, brought to where claims stand now.

docs/decisions/0004-claims-have-flat-names.md tells what became of the folders.
"""

from __future__ import annotations

import contextlib
import logging
import os

from conductor_loop import disk
from conductor_loop.adapters.handoff.claims import names_in_folder, unreadable
from conductor_loop.adapters.handoff.layout import Layout
from conductor_loop.core.naming import is_intent_name
from conductor_loop.core.places import claimed_path, needs_folder, read_claimed

_log = logging.getLogger("conductor_loop.folder")


def renew_claims(layout: Layout) -> None:
    """Rename each `ID/NAME` that has room beside its id to `ID.NAME`, journalled or not.

    Comes before whatever looks for a claim. Killed anywhere, a file has one name or the other and
    the next start goes on; `Claims.leftovers` removes what is empty. Raises CannotStart and
    DurabilityLost.
    """
    try:
        emptied = [each for each in _folders(layout.claimed) if _renew(layout.claimed, each)]
    except OSError as error:
        raise unreadable(error) from error
    if not emptied:
        return
    disk.sync_file_system(layout.claimed)
    for intent_id in emptied:
        with contextlib.suppress(OSError):
            os.rmdir(intent_id, dir_fd=layout.claimed)
    _log.info("%d claims of an older version were renamed", len(emptied))


def _folders(claimed: int) -> list[str]:
    entries = map(read_claimed, map(os.fsencode, os.listdir(claimed)))
    return sorted(entry[0] for entry in entries if entry is not None and not entry[1])


def _renew(claimed: int, intent_id: str) -> bool:
    """Rename what one folder holds, unless it was never claimed: that is left alone."""
    try:
        names = names_in_folder(claimed, intent_id)
    except NotADirectoryError:
        return False
    if len(names) != 1 or not is_intent_name(names[0]) or needs_folder(names[0]):
        return False
    place = claimed_path(intent_id, names[0])
    if disk.exists(claimed, place):
        return False
    path = b"%b/%b" % (intent_id.encode(), names[0])
    os.rename(path, place, src_dir_fd=claimed, dst_dir_fd=claimed)
    return True
