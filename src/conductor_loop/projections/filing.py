"""The view of files: each final intent's file moves from its claim to its one last place."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from conductor_loop import disk
from conductor_loop.core.error_log import Failing, compose_error_log, intent_of
from conductor_loop.core.events import Duplicated, Published, Quarantined, Receipt, Skipped
from conductor_loop.core.naming import error_log_name
from conductor_loop.core.places import Place, claimed_path, filed_name, needs_folder
from conductor_loop.core.records import Entry
from conductor_loop.ports import Steps
from conductor_loop.projections.crossing import bring_over
from conductor_loop.projections.folders import (
    ERROR_LOG_HEAD,
    Folders,
    hidden_name,
    is_same,
    read_own,
    unusable,
    write_hidden,
)

_log = logging.getLogger("conductor_loop.filing")

_Filed = Published | Duplicated | Skipped | Failing | Quarantined
# Error logs held open at a time, far below the usual limit of 1,024 open files.
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class _Claim:
    """One claimed file, and the names it may have on its way."""

    intent_id: str
    receipt: Receipt

    @property
    def path(self) -> bytes:
        """Where it stands, relative to `claimed/`."""
        return claimed_path(self.intent_id, self.receipt.name)

    @property
    def arrived(self) -> bytes:
        """Its name while a copy from another file system waits for its last one."""
        return hidden_name(self.intent_id, b"copied")

    @property
    def log(self) -> bytes:
        """The name of its error log until that may be seen."""
        return hidden_name(self.intent_id, b"error")

    def name_at(self, place: Place) -> bytes:
        return filed_name(place, self.receipt.name, self.intent_id)


class Filing:
    """`ports.Projection`: processed/, failed/ with error logs, quarantine/. Never overwrites.

    Succeeded, duplicate and skipped files end in processed/; rejected, failed and timed out ones
    in failed/. The places returned are words of `core.places.Place`.
    """

    def __init__(self, folders: Folders, address: str = "") -> None:
        """`address`: the flags by which commands in an error log find this daemon."""
        self._folders = folders
        self._address = address
        self._missed: set[str] = set()

    def apply(self, entries: Sequence[Entry]) -> Steps:
        """See `ports.Projection`. Entries that are not final mean nothing here."""
        final = [entry for entry in entries if isinstance(entry.event, _Filed)]
        places: list[tuple[str, str]] = []
        for start in range(0, len(final), _AT_ONCE):
            places += yield from self._file(final[start : start + _AT_ONCE])
        return places

    def _file(self, entries: Sequence[Entry]) -> Steps:
        folders = self._folders
        with contextlib.closing(_Batch(folders, self._address)) as batch:
            with unusable(folders.processed, folders.failed, folders.quarantine, folders.claimed):
                yield from batch.write_logs(entries)
                places = [batch.file(entry) for entry in entries]
            yield tuple(batch.touched)
        for entry, place in zip(entries, places, strict=True):
            if place is Place.NOWHERE and entry.retry_of is None:
                self._report_missing(entry)
        return [(_id(e), p.value) for e, p in zip(entries, places, strict=True)]

    def _report_missing(self, entry: Entry) -> None:
        if entry.intent_id in self._missed:
            return
        self._missed.add(_id(entry))
        assert entry.receipt is not None
        _log.warning(
            "the claimed file is gone, so it is in no folder: somebody removed it",
            extra=entry.facts(),
        )


class _Batch:
    """A few entries, filed with one sync for each folder that they touch."""

    def __init__(self, folders: Folders, address: str) -> None:
        self._address = address
        self._mode = folders.modes.file
        self._claimed = folders.claimed
        self._processed = folders.processed
        self._failed = folders.failed
        self._quarantine = folders.quarantine
        self.touched: set[int] = set()
        """Folders in which something was moved."""
        self._opened: list[int] = []

    def close(self) -> None:
        """Close what was opened to be synced."""
        for handle in self._opened:
            os.close(handle)

    def write_logs(self, entries: Sequence[Entry]) -> Generator[Sequence[int], None, None]:
        """Write the error logs under hidden names, durable before they get their own."""
        handles: list[int] = []
        try:
            for entry in entries:
                claim = _claim_of(entry)
                if claim and isinstance(entry.event, Failing):
                    text = compose_error_log(entry, self._address).encode()
                    handles.append(write_hidden(self._failed, claim.log, text, self._mode))
            if handles:
                yield handles
        finally:
            for handle in handles:
                os.close(handle)

    def file(self, entry: Entry) -> Place:
        """Move one file to its last place, or find that it is there."""
        claim = _claim_of(entry)
        if claim is None:
            return Place.NOWHERE
        self.touched.add(self._claimed)
        if isinstance(entry.event, Quarantined):
            place = self._set_aside(claim)
        elif isinstance(entry.event, Failing):
            place = self._file_failed(claim)
        else:
            place = self._file_processed(claim)
        if needs_folder(claim.receipt.name):
            with contextlib.suppress(OSError):  # gone already, or somebody put something into it
                os.rmdir(claim.intent_id, dir_fd=self._claimed)
        return place

    def _file_processed(self, claim: _Claim) -> Place:
        self.touched.add(self._processed)
        for place in (Place.PROCESSED, Place.PROCESSED_ID):
            try:
                self._move(claim, self._processed, claim.name_at(place))
            except FileExistsError:
                continue
            except FileNotFoundError:
                self._refuse_if_claimed(claim)
                return self._find_processed(claim)
            return place
        raise _no_name_left(claim)

    def _find_processed(self, claim: _Claim) -> Place:
        if disk.exists(self._processed, claim.name_at(Place.PROCESSED_ID)):
            return Place.PROCESSED_ID
        # Another intent's file may have the plain name, so the bytes must be the ones claimed.
        data = read_own(self._processed, claim.receipt.name, claim.receipt.size + 1) or b""
        if hashlib.sha256(data).hexdigest() == claim.receipt.digest:
            return Place.PROCESSED
        return Place.NOWHERE

    def _file_failed(self, claim: _Claim) -> Place:
        self.touched.add(self._failed)
        is_claimed = disk.exists(self._claimed, claim.path)
        if not is_claimed and not disk.exists(self._failed, claim.arrived):
            return self._find_failed(claim)
        for place in (Place.FAILED, Place.FAILED_ID):
            name = claim.name_at(place)
            if not self._show_log(claim, error_log_name(name)):
                continue
            try:
                self._move(claim, self._failed, name)
            except FileExistsError:
                self._rename_in_failed(error_log_name(name), claim.log)
                continue
            return place
        raise _no_name_left(claim)

    def _find_failed(self, claim: _Claim) -> Place:
        plain, own = claim.name_at(Place.FAILED), claim.name_at(Place.FAILED_ID)
        if disk.exists(self._failed, own):
            self._show_log(claim, error_log_name(own))
            return Place.FAILED_ID
        # The log gets its name first, so what has no log of this intent is another's file.
        if disk.exists(self._failed, plain) and self._is_log_of(claim, error_log_name(plain)):
            self._show_log(claim, error_log_name(plain))
            return Place.FAILED
        os.unlink(claim.log, dir_fd=self._failed)
        return Place.NOWHERE

    def _show_log(self, claim: _Claim, log_name: bytes) -> bool:
        """Give the error log its name; False when another file has it, which then stays."""
        try:
            disk.rename_new(self._failed, claim.log, self._failed, log_name)
        except FileExistsError:
            if not self._is_log_of(claim, log_name):
                return False
            self._rename_in_failed(claim.log, log_name)
        return True

    def _is_log_of(self, claim: _Claim, log_name: bytes) -> bool:
        head = read_own(self._failed, log_name, ERROR_LOG_HEAD) or b""
        return intent_of(head) == claim.intent_id

    def _rename_in_failed(self, name: bytes, new_name: bytes) -> None:
        os.rename(name, new_name, src_dir_fd=self._failed, dst_dir_fd=self._failed)

    def _set_aside(self, claim: _Claim) -> Place:
        """Rename it into a folder of its own in quarantine/: it is never opened or followed."""
        self.touched.add(self._quarantine)
        folder, name = claim.intent_id.encode(), claim.receipt.name
        if disk.exists(self._claimed, claim.path):
            disk.move_into_own(self._claimed, claim.path, self._quarantine, folder, name)
        try:
            aside = disk.open_folder(folder, inside=self._quarantine)
        except FileNotFoundError:
            return Place.NOWHERE
        self._opened.append(aside)
        self.touched.add(aside)
        return Place.QUARANTINE if disk.exists(aside, name) else Place.NOWHERE

    def _move(self, claim: _Claim, folder: int, name: bytes) -> None:
        """Move the claimed file. FileExistsError: the name is taken; FileNotFoundError: gone."""
        try:
            _rename_new(self._claimed, claim.path, folder, name)
        except FileNotFoundError:
            _rename_new(folder, claim.arrived, folder, name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            bring_over(self._claimed, claim.path, folder, claim.arrived)
            _rename_new(folder, claim.arrived, folder, name)

    def _refuse_if_claimed(self, claim: _Claim) -> None:
        """Tell a destination that has just vanished from a claim that has."""
        if disk.exists(self._claimed, claim.path):
            raise FileNotFoundError(errno.ENOENT, "the folder it goes to is gone")


def _rename_new(source: int, path: bytes, folder: int, name: bytes) -> None:
    try:
        disk.rename_new(source, path, folder, name)
    except FileExistsError:
        # Both names of one file: a crash between link and unlink (see disk.rename_new).
        if not is_same(source, path, folder, name):
            raise
        os.unlink(path, dir_fd=source)


def _claim_of(entry: Entry) -> _Claim | None:
    """None for a retry: its file lies where the first try left it."""
    if entry.retry_of is not None:
        return None
    assert entry.receipt is not None
    return _Claim(_id(entry), entry.receipt)


def _id(entry: Entry) -> str:
    assert entry.intent_id is not None
    return entry.intent_id


def _no_name_left(claim: _Claim) -> OSError:
    return FileExistsError(
        errno.EEXIST, "both names for the file are taken", os.fsdecode(claim.receipt.name)
    )
