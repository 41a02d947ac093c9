"""A bundle for whoever investigates: what is proved, what was set aside, and a signed list."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from conductor_loop import __version__, disk
from conductor_loop.adapters.beneath import read_beneath
from conductor_loop.adapters.keys.store import key_in_use
from conductor_loop.adapters.verdict_files import status_files
from conductor_loop.core.audit.records import decode_line
from conductor_loop.core.faults import CannotStart
from conductor_loop.core.identity import is_ulid
from conductor_loop.core.jws import FORENSICS, detached_jws
from conductor_loop.core.naming import shown
from conductor_loop.core.wording import timestamp
from conductor_loop.projections.audit.reading import lines_of
from conductor_loop.settings import Settings

_LONGEST_FILE = 256 << 20
_QUARANTINE = b".conductor/quarantine"


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a bundle; `path` is fit for any terminal and file system."""

    path: str
    data: bytes


class _Finished(msgspec.Struct):
    finished_at: str = ""


def items(settings: Settings, since: datetime) -> Iterator[Item]:
    """Everything from a moment on, in an order that is the same each time; links are not followed.

    What cannot be read is told in an item of its name with `.unreadable` behind it.
    """
    yield from _audit(settings, since)
    handoff = disk.open_folder(os.fspath(settings.handoff))
    try:
        yield from _verdicts(settings, handoff, since)
        for path in _set_aside(handoff, since):
            yield _item(handoff, path)
    finally:
        os.close(handoff)


def write_bundle(settings: Settings, since: datetime, out: BinaryIO) -> int:
    """Write a tar.gz that ends with its signed manifest; return how many files it tells of."""
    key, listed = key_in_use(settings.state_dir, given=settings.key_file), []
    with (
        gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as packed,
        closing(tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT)) as archive,
    ):
        for item in items(settings, since):
            _add(archive, item)
            digest = hashlib.sha256(item.data).hexdigest()
            listed.append({"path": item.path, "size": len(item.data), "sha256": digest})
        manifest: dict[str, object] = {
            "kind": "forensics-manifest",
            "generated_at": timestamp(datetime.now(UTC)),
            "since": timestamp(since),
            "conductor_version": __version__,
            "files": listed,
        }
        signature = detached_jws(manifest, FORENSICS, key.kid, key.sign)
        text = json.dumps({**manifest, "signature": signature}, indent=2) + "\n"
        _add(archive, Item("manifest.json", text.encode()))
    return len(listed)


def _add(archive: tarfile.TarFile, item: Item) -> None:
    entry = tarfile.TarInfo(item.path)
    entry.size, entry.mode = len(item.data), 0o600
    archive.addfile(entry, io.BytesIO(item.data))


def _audit(settings: Settings, since: datetime) -> Iterator[Item]:
    """The log from the first record of that time on, and the notices in it once more."""
    lines: list[bytes] = []
    notices: list[bytes] = []
    try:
        for line in lines_of(settings.state_dir):
            try:
                record = decode_line(line.raw)
            except ValueError:  # damaged: the investigator wants just that
                lines.append(line.raw)
                continue
            if lines or datetime.fromisoformat(record.timestamp) >= since:
                lines.append(line.raw)
                notices += [line.raw] if record.severity else []
    except CannotStart:
        yield Item("audit.unreadable", b"there is no audit log\n")
        return
    yield Item("audit.jsonl", b"".join(line + b"\n" for line in lines))
    yield Item("notices.jsonl", b"".join(line + b"\n" for line in notices))


def _verdicts(settings: Settings, handoff: int, since: datetime) -> Iterator[Item]:
    top = os.fsencode(settings.handoff) + b"/"
    for path in status_files(os.fsencode(settings.handoff)):
        item = _item(handoff, path.removeprefix(top))
        if _finished_at(item.data) >= since:
            yield item


def _finished_at(data: bytes) -> datetime:
    """When a verdict says it was; what says nothing is of any time, so it is always taken."""
    try:
        moment = datetime.fromisoformat(msgspec.json.decode(data, type=_Finished).finished_at)
    except (msgspec.MsgspecError, ValueError):
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _set_aside(handoff: int, since: datetime) -> Iterator[bytes]:
    """The paths of what stands in quarantine, by the folder's time."""
    try:
        top = disk.open_folder(b".conductor", inside=handoff)
    except OSError:
        return
    try:
        quarantine = disk.open_folder(b"quarantine", inside=top)
    except OSError:
        return
    finally:
        os.close(top)
    try:
        for intent_id in sorted(filter(is_ulid, os.listdir(quarantine))):
            status = os.stat(intent_id, dir_fd=quarantine, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode) or status.st_mtime < since.timestamp():
                continue
            folder = disk.open_folder(intent_id, inside=quarantine)
            try:
                names = sorted(map(os.fsencode, os.listdir(folder)))
            finally:
                os.close(folder)
            yield from (b"/".join((_QUARANTINE, intent_id.encode(), name)) for name in names)
    finally:
        os.close(quarantine)


def _item(handoff: int, path: bytes) -> Item:
    try:
        return Item(shown(path), read_beneath(handoff, path, _LONGEST_FILE))
    except OSError as error:
        why = error.strerror or "it is no regular file"
        return Item(shown(path) + ".unreadable", f"not read: {why}\n".encode())
