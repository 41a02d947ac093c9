"""The audit log as a backup takes it: every file, the newest one up to what is signed.

Reads while a daemon appends. What stands behind the newest signature may be a write under way.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from conductor_loop.adapters.audit_files import log_files
from conductor_loop.adapters.backup.parcel import Part, whole
from conductor_loop.core.audit.naming import FOLDER, SIGNATURE

_BLOCK = 1 << 20


def trail(state_dir: Path) -> dict[str, Part]:
    """What a backup takes of the log, by its name there. Raises OSError when one is pruned."""
    files = log_files(state_dir)
    parts = [whole(path) for path in files[:-1]]
    parts += [Part(path, _signed(path)) for path in files[-1:]]
    return {f"{FOLDER}/{part.path.name}": part for part in parts if part.size}


def _signed(path: Path) -> int:
    """Bytes up to the end of the newest signed line; found from the end, a block at a time.

    Not mapped into memory: a daemon without room may cut the file.
    """
    with path.open("rb") as file:
        begin, tail = file.seek(0, 2), b""
        while begin:
            size = min(begin, _BLOCK)
            begin -= size
            tail = _block(file, begin, size) + tail
            found = tail.rfind(SIGNATURE, 0, tail.rfind(b"\n") + 1)
            if found >= 0:
                return begin + tail.index(b"\n", found) + 1
    return 0


def _block(file: IO[bytes], begin: int, size: int) -> bytes:
    file.seek(begin)
    return file.read(size)
