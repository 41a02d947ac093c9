"""The state file of the original program, `.conductor-state.json`, read and written.

Its form, as the original writes it: `{"version": "1.0", "saved_at": T, "states": {PATH:
{"file_path", "sha256", "size", "processed_at", "status": "processed"|"failed"}}}`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec

FILE_NAME = ".conductor-state.json"
_VERSION = "1.0"
_HEX_DIGITS = frozenset("0123456789abcdef")
_DIGEST_LENGTH = 64


class OriginalStatus(StrEnum):
    """How the original's run of a file ended."""

    PROCESSED = "processed"
    FAILED = "failed"


class FileState(msgspec.Struct, frozen=True):
    """What the original knew of one file."""

    file_path: str
    sha256: str
    size: int
    processed_at: datetime
    status: OriginalStatus


class _StateFile(msgspec.Struct, frozen=True):
    version: str
    saved_at: datetime
    states: dict[str, msgspec.Raw]


class _Written(msgspec.Struct, frozen=True):
    version: str
    saved_at: datetime
    states: dict[str, FileState]


@dataclass(frozen=True, slots=True)
class OriginalState:
    """A state file as far as it could be read."""

    files: tuple[FileState, ...]
    unusable: int
    """Entries that are none, counted and left out."""


class NotOriginalState(ValueError):
    """Not a state file of the original."""


def read_original_state(data: bytes) -> OriginalState:
    """Read a state file; an empty one means nothing was processed. Raises NotOriginalState."""
    if not data.strip():
        return OriginalState((), 0)
    try:
        whole = msgspec.json.decode(data, type=_StateFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotOriginalState(str(error)) from None
    if whole.version.split(".")[0] != _VERSION.split(".", maxsplit=1)[0]:
        raise NotOriginalState(f"its version is {whole.version}, {_VERSION} is known")
    files = [file for raw in whole.states.values() if (file := _read_entry(raw)) is not None]
    return OriginalState(tuple(files), len(whole.states) - len(files))


def write_original_state(files: Iterable[FileState], now: datetime) -> bytes:
    """Write a state file that the original takes for its own, keys sorted."""
    states = {file.file_path: file for file in sorted(files, key=lambda f: f.file_path)}
    text = msgspec.json.encode(_Written(_VERSION, now, states))
    return msgspec.json.format(text, indent=2) + b"\n"


def file_name(file: FileState) -> bytes:
    """The name under which a file was handed over; the original also ran on Windows."""
    return posixpath.basename(file.file_path.replace("\\", "/")).encode("utf-8", "surrogateescape")


def _read_entry(raw: msgspec.Raw) -> FileState | None:
    try:
        file = msgspec.json.decode(raw, type=FileState)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    is_digest = len(file.sha256) == _DIGEST_LENGTH and _HEX_DIGITS.issuperset(file.sha256)
    return file if is_digest else None
