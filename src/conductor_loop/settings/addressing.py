"""How a command line names one daemon: the flags that lead to its folders, ready to be typed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from conductor_loop.core.naming import shown
from conductor_loop.settings.model import OPTIONS, Settings


def address(settings: Settings) -> str:
    """` -handoff DIR -state-dir DIR`, as far as they are not the defaults; whole paths, quoted.

    Whole, because whoever reads them may stand in another folder.
    """
    flags: list[tuple[str, Path]] = []
    if settings.handoff != Path(OPTIONS["handoff"].default):
        flags.append(("-handoff", settings.handoff))
    if settings.state_dir.absolute() != (settings.handoff / ".conductor").absolute():
        flags.append(("-state-dir", settings.state_dir))
    if settings.kek_file is not None:
        flags.append(("-kek-file", settings.kek_file))
    return "".join(f" {flag} {_word(path)}" for flag, path in flags)


def _word(path: Path) -> str:
    return shlex.quote(shown(os.fsencode(path.absolute())))
