"""A file handed over the way a good producer does: whole at once, and never over another."""

from __future__ import annotations

import os
from pathlib import Path

from conductor_loop import disk
from conductor_loop.core.faults import CannotStart, ConductorError
from conductor_loop.core.naming import shown

# Readable for a daemon that runs as another user, whatever the producer's umask is.
_MODE = 0o644


class NameTaken(ConductorError):
    """A file of this name waits in the handoff folder."""

    code = "name_taken"


def open_handoff(handoff: Path) -> int:
    """Open the handoff folder to hand files over. Raises CannotStart; it is never made here."""
    try:
        return disk.open_folder(os.path.realpath(handoff))
    except OSError as error:
        raise CannotStart(
            f"cannot open the handoff folder {handoff}: {error.strerror}",
            hint="check -handoff; the daemon makes the folder when it starts",
            code="no_handoff",
        ) from error


def hand_over(folder: int, name: bytes, body: bytes, submission: str) -> None:
    """Make a file appear whole under `name`, durably; `submission` is unique.

    Written under a hidden name first, so that no reader sees half of it. Raises NameTaken and
    CannotStart (nothing is left behind), and DurabilityLost.
    """
    hidden = b".submit-" + submission.encode()
    try:
        handle = disk.write_new(folder, hidden, body, _MODE)
        try:
            os.fchmod(handle, _MODE)
            disk.sync(handle)
            disk.rename_new(folder, hidden, folder, name)
        except BaseException:
            os.unlink(hidden, dir_fd=folder)
            raise
        finally:
            os.close(handle)
    except FileExistsError:
        raise NameTaken(
            f"{shown(name)} is in the handoff folder already, not picked up yet",
            hint="wait until it is picked up, or give this one another --name",
        ) from None
    except OSError as error:
        raise CannotStart(
            f"cannot write {shown(name)} into the handoff folder: {error.strerror}",
            hint="check who may write there, and its room",
            code="handover_failed",
        ) from error
    disk.sync(folder)
