"""Where the files of the audit log lie in a state dir; what is in them is for projections."""

from __future__ import annotations

import re
from pathlib import Path

from conductor_loop.core.audit.naming import FOLDER, LOG_FILE


def log_files(state_dir: Path) -> list[Path]:
    """The files of the log, oldest first; none where it is switched off."""
    folder = state_dir / FOLDER
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(LOG_FILE, path.name))
