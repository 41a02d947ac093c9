"""The key-encryption key: a file beside the journal, or one that the operator mounts.

One key of 64 hex digits a line; the first is in force, the others still unwrap what they wrapped.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from conductor_loop.adapters.journal.sealing import KEY_BYTES
from conductor_loop.core.faults import CannotStart

_KEY = re.compile(rb"[0-9a-fA-F]{64}")
_MOST_BYTES = 4096
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
# Kubernetes mounts a Secret with fsGroup as 0440: the group may read it, nobody may write.
_FOR_THE_GROUP = 0o440


def own_kek_file(state_dir: Path) -> Path:
    """Where the key is made when the operator names none."""
    return state_dir / "keys" / "journal.kek"


def read_keks(path: Path) -> list[bytes]:
    """The keys of a file, the one in force first.

    Raises FileNotFoundError; CannotStart when others may read it or it holds no key.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(handle).st_mode
        _refuse_unsafe(path, mode)
        text = os.read(handle, _MOST_BYTES)
    finally:
        os.close(handle)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or any(_KEY.fullmatch(line) is None for line in lines):
        raise CannotStart(
            f"{path} holds no key-encryption key",
            code="kek_malformed",
            hint="one key of 64 hex digits a line, e.g. from: openssl rand -hex 32",
        )
    return [bytes.fromhex(line.decode()) for line in lines]


def _refuse_unsafe(path: Path, mode: int) -> None:
    shared = stat.S_IMODE(mode) & 0o077
    if not stat.S_ISREG(mode) or (shared and stat.S_IMODE(mode) != _FOR_THE_GROUP):
        raise CannotStart(
            f"{path} may be read by others, or is no regular file (mode {stat.filemode(mode)})",
            code="kek_exposed",
            hint=f"chmod 600 {path}; if others could read it, put a new key first and start again",
        )


def make_kek(path: Path) -> bytes:
    """Make a key at a path where there is none. Raises OSError."""
    key = os.urandom(KEY_BYTES)
    path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    write_keks(path, [key])
    return key


def write_keks(path: Path, keys: list[bytes]) -> None:
    """Put these keys in a file, replacing it whole. Raises OSError."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE
    )
    try:
        os.write(handle, b"".join(key.hex().encode() + b"\n" for key in keys))
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
