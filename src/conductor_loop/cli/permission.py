"""What another user than the daemon's is told, whom the state dir keeps out."""

from __future__ import annotations

import os
from pathlib import Path

from conductor_loop.core.faults import ConductorError
from conductor_loop.settings import Settings


class NotTheDaemonsUser(ConductorError):
    """Journal and control socket are private to the daemon's user."""

    code = "not_the_daemons_user"


def explained(error: PermissionError, settings: Settings) -> Exception:
    """The same, told as what it is where that is known; else the error itself."""
    state_dir = settings.state_dir.absolute()
    if os.geteuid() == 0 or not _is_within(error.filename, state_dir):
        return error
    try:
        owner = os.stat(state_dir).st_uid
    except OSError:
        return NotTheDaemonsUser(
            f"uid {os.geteuid()} may not look into {state_dir}",
            hint="run it as the daemon's user or root",
        )
    if owner == os.geteuid():
        return error
    return NotTheDaemonsUser(
        f"{state_dir} is private to uid {owner}",
        hint=f"run it as uid {owner} (the daemon's user) or root",
    )


def _is_within(name: object, folder: Path) -> bool:
    if not isinstance(name, str | bytes | os.PathLike):
        return False
    return Path(os.path.abspath(os.fsdecode(name))).is_relative_to(folder)
