"""A bundle for whoever investigates: what is proved, what was set aside, and a signed list."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from conductor_loop import __version__, disk
from conductor_loop.adapters.beneath import facts_beneath, read_beneath
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
_LONGEST_ORIGINAL, _MOST_ORIGINALS = 16 << 20, 512 << 20
"""Bytes of one original, and of all: a producer decides how large they are."""
_QUARANTINE, _FAILED, _LOG = b".conductor/quarantine", b"failed", b".error.log"
LEFT_OUT = "left-out.txt"
_KINDS = {
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block device",
    stat.S_IFCHR: "character device",
    stat.S_IFDIR: "folder",
    stat.S_IFREG: "regular file",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One file of a bundle; `path` is fit for any terminal and file system."""

    path: str
    data: bytes


class _Finished(msgspec.Struct):
    finished_at: str = ""


def items(settings: Settings, since: datetime) -> Iterator[Item]:
    """Everything from a moment on, in an order that is the same each time; links are not followed.

    What cannot be read is told in an item of its name with `.unreadable` behind it, with its kind
    and where a symlink leads; what is too large in a last item, LEFT_OUT.
    """
    yield from _audit(settings, since)
    handoff = disk.open_folder(os.fspath(settings.handoff))
    try:
        yield from _verdicts(settings, handoff, since)
        yield from _originals(handoff, [*_set_aside(handoff, since), *_failed(handoff, since)])
    finally:
        os.close(handoff)


def write_bundle(settings: Settings, since: datetime, out: BinaryIO) -> Sequence[str]:
    """Write a tar.gz that ends with its signed manifest; return the paths that it tells of."""
    key = key_in_use(settings.state_dir, given=settings.key_file)
    listed: list[dict[str, object]] = []
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
    return [str(each["path"]) for each in listed]


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


def _failed(handoff: int, since: datetime) -> Iterator[bytes]:
    """Originals that failed or were refused, and their error logs, by when they came there.

    That is the time of the last change: a rename sets it, and no producer can.
    """
    try:
        failed = disk.open_folder(_FAILED, inside=handoff)
    except OSError:
        return
    try:
        for name in sorted(map(os.fsencode, os.listdir(failed)), key=_logs_first):
            try:
                status = os.stat(name, dir_fd=failed, follow_symlinks=False)
            except FileNotFoundError:  # its time was over just now
                continue
            if max(status.st_mtime, status.st_ctime) >= since.timestamp():
                yield b"/".join((_FAILED, name))
    finally:
        os.close(failed)


def _logs_first(name: bytes) -> tuple[bool, bytes]:
    """Ours are small, and must have room whatever producers hand over."""
    return not name.endswith(_LOG), name


def _originals(handoff: int, paths: Iterable[bytes]) -> Iterator[Item]:
    """What producers handed over, as far as there is room for it in a bundle."""
    room, left_out = _MOST_ORIGINALS, []
    for path in paths:
        longest = min(_LONGEST_ORIGINAL, room)
        size = _size(handoff, path)
        if size > longest:
            left_out.append(f"{size} bytes: {shown(path)}\n")
            continue
        item = _item(handoff, path)
        room -= len(item.data)
        yield item
    if left_out:
        yield Item(LEFT_OUT, "".join(left_out).encode())


def _size(handoff: int, path: bytes) -> int:
    try:
        return facts_beneath(handoff, path)[0].st_size
    except OSError:  # told by `_item`
        return 0


def _item(handoff: int, path: bytes) -> Item:
    try:
        return Item(shown(path), read_beneath(handoff, path, _LONGEST_FILE))
    except OSError as error:
        return Item(shown(path) + ".unreadable", _instead(handoff, path, error).encode())


def _instead(handoff: int, path: bytes, error: OSError) -> str:
    """What is told of something that is not read."""
    told = f"not read: {error.strerror or 'it is no regular file'}\n"
    try:
        status, target = facts_beneath(handoff, path)
    except OSError:
        return told
    told += f"kind: {_KINDS.get(stat.S_IFMT(status.st_mode), 'unknown')}\n"
    return told if target is None else f"{told}target: {shown(target)}\n"
