"""Making a backup of a live journal, and proving that it restores before it has its name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from conductor_loop.adapters.backup.parcel import (
    Part,
    Recipient,
    digests,
    passing_identity,
    seal,
    whole,
)
from conductor_loop.adapters.backup.trail import trail
from conductor_loop.adapters.journal.checking import Census, check_journal
from conductor_loop.adapters.journal.database import (
    FILE_NAME,
    MADE_IF_MISSING,
    open_database,
    open_for_reading,
)
from conductor_loop.adapters.journal.kek_file import own_kek_file
from conductor_loop.core.faults import CannotStart, JournalDamaged

MANIFEST = "manifest.json"
# Whoever has these can read or sign; everything else in `keys/` is public.
_PRIVATE_SUFFIXES = (".kek", ".pem")
FORMAT = 2
"""1 had no audit log."""
_TRIES = 3


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    format: int
    made_at: datetime
    last_seq: int
    intents: int
    events: int
    unfinished: int
    commits: int
    is_sealed: bool
    has_keys: bool
    audit_files: int = 0
    audit_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was proved to restore."""

    path: Path
    size: int
    manifest: Manifest


def make_backup(
    state_dir: Path,
    kek_file: Path | None,
    destination: Path,
    recipients: list[Recipient],
    now: datetime,
    *,
    with_keys: bool,
) -> Made:
    """Copy the journal as it is at one moment, encrypt that copy and the audit log, read all of it
    back, then name it.

    Nothing waits meanwhile, a daemon least of all. Raises CannotStart, JournalDamaged.
    """
    if destination.exists():
        raise CannotStart(
            f"{destination} exists", code="backup_exists", hint="name a file that does not"
        )
    try:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=state_dir) as folder:
            return _make(
                Path(folder), state_dir, kek_file, destination, recipients, now, with_keys=with_keys
            )
    except OSError as error:
        raise CannotStart(
            f"the backup cannot be written: {error}",
            code="backup_unwritable",
            hint="check the folder, its owner, and whether its disk has room",
        ) from error


def _make(
    scratch: Path,
    state_dir: Path,
    kek_file: Path | None,
    destination: Path,
    recipients: list[Recipient],
    now: datetime,
    *,
    with_keys: bool,
) -> Made:
    _copy(state_dir / FILE_NAME, scratch / FILE_NAME)
    census = check_journal(scratch, kek_file or own_kek_file(state_dir))
    keys = _keys(state_dir, kek_file, with_keys=with_keys)
    draft = destination.with_name(f".{destination.name}.new")

    def seal_all() -> Manifest:
        draft.unlink(missing_ok=True)
        # After the journal's copy: it tells of everything that the copy believes to be told.
        audit = trail(state_dir)
        manifest = _manifest(census, now, audit, with_keys=with_keys)
        (scratch / MANIFEST).write_bytes(msgspec.json.encode(manifest))
        own = {MANIFEST: whole(scratch / MANIFEST), FILE_NAME: whole(scratch / FILE_NAME)}
        _encrypt_and_prove(own | keys | audit, draft, recipients)
        return manifest

    try:
        manifest = _again_when_pruned(seal_all)
        size = draft.stat().st_size
        draft.rename(destination)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(destination.parent)
    return Made(destination, size, manifest)


def _again_when_pruned(seal_all: Callable[[], Manifest]) -> Manifest:
    """Files of the audit log may be pruned while they are read; that is rare."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):
            return seal_all()
    return seal_all()


def _copy(source: Path, destination: Path) -> None:
    """SQLite's online backup in one step: one moment, whatever is written meanwhile."""
    journal = open_for_reading(source)
    copy = open_database(destination, MADE_IF_MISSING)
    try:
        with copy.backup("main", journal, "main") as backup:
            backup.step(-1)
        # The copy is one file, wherever it is opened.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()
        journal.close()
    destination.chmod(0o600)


def _manifest(
    census: Census, now: datetime, audit: Mapping[str, Part], *, with_keys: bool
) -> Manifest:
    return Manifest(
        format=FORMAT,
        made_at=now,
        last_seq=census.last_seq,
        intents=census.intents,
        events=census.events,
        unfinished=census.unfinished,
        commits=census.commits,
        is_sealed=census.is_sealed,
        has_keys=with_keys,
        audit_files=len(audit),
        audit_bytes=sum(part.size for part in audit.values()),
    )


def _keys(state_dir: Path, kek_file: Path | None, *, with_keys: bool) -> dict[str, Part]:
    folder = state_dir / "keys"
    found = {f"keys/{path.name}": path for path in sorted(folder.glob("[!.]*")) if path.is_file()}
    if not with_keys:
        found = {n: path for n, path in found.items() if path.suffix not in _PRIVATE_SUFFIXES}
    elif kek_file is not None:
        found[f"keys/{own_kek_file(state_dir).name}"] = kek_file
    return {name: whole(path) for name, path in found.items()}


def _encrypt_and_prove(parts: Mapping[str, Part], draft: Path, recipients: list[Recipient]) -> None:
    identity, prover = passing_identity()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "wb") as out:
        packed = seal(parts, out, [*recipients, prover])
        out.flush()
        os.fsync(out.fileno())
    # The journal's copy was read row by row: what has the same bytes is as whole.
    if digests(draft, [identity]) != packed:
        raise JournalDamaged(f"{draft} does not restore to what was copied")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
