"""The backups that a schedule made, told apart from anything else in their folder by name."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

_NAME = re.compile(r"journal-([0-9]{8}T[0-9]{6})Z\.age")
_STAMP = "%Y%m%dT%H%M%S"


def path_for(folder: Path, now: datetime) -> Path:
    """Where one that is made now goes; `now` is UTC."""
    return folder / f"journal-{now:{_STAMP}}Z.age"


def kept(folder: Path) -> list[Path]:
    """All of them, oldest first."""
    if not folder.exists():
        return []
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def made_at(path: Path) -> datetime:
    """When one of `kept` was made, by its name."""
    stamp = _NAME.fullmatch(path.name)
    assert stamp is not None
    return datetime.strptime(stamp[1], _STAMP).replace(tzinfo=UTC)


def newest_at(folder: Path) -> float:
    """When the newest one was made, in seconds since 1970; 0 when there is none. Raises OSError."""
    found = kept(folder)
    return made_at(found[-1]).timestamp() if found else 0.0
