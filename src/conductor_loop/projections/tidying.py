"""Retention: the files and verdict of an old intent are removed, never those of another one."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Sequence

from conductor_loop import disk
from conductor_loop.core.error_log import intent_of
from conductor_loop.core.naming import error_log_name, shown, verdict_name
from conductor_loop.core.places import Place, filed_name
from conductor_loop.core.records import Summary
from conductor_loop.core.states import FINAL
from conductor_loop.projections.folders import ERROR_LOG_HEAD, Folders, open_own, read_own
from conductor_loop.projections.verdicts import history_name, verdict_owner

_log = logging.getLogger("conductor_loop.tidying")


class Tidying:
    """`ports.Tidier`: what final intents left in processed/, failed/, quarantine/ and status/."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def remove(self, intents: Sequence[Summary]) -> list[str]:
        """Remove each one's file, error log and verdict; return the ids the journal may forget.

        Ids that are not returned have to wait: not final, not filed yet, or not removable now
        (logged). Removing again is the same as once. A file that no longer has the intent's bytes
        is somebody else's and stays. Raises DurabilityLost.
        """
        removal = _Removal(self._folders)
        removed = [intent.intent_id for intent in intents if removal.attempt(intent)]
        removal.sync()
        return removed


class _Removal:
    """One pass over some intents, with one sync of each folder touched."""

    def __init__(self, folders: Folders) -> None:
        self._processed = folders.processed
        self._failed = folders.failed
        self._quarantine = folders.quarantine
        self._status = folders.status
        self._history = folders.history
        self._touched: set[int] = set()

    def attempt(self, intent: Summary) -> bool:
        """Remove what one intent left; False when it has to stay for now."""
        if intent.state not in FINAL or intent.filed is None:
            return False
        try:
            self._remove_file(intent, Place(intent.filed))
            self._remove_verdict(intent)
        except OSError as error:
            _log.warning(
                "an old intent could not be removed: %s",
                error.strerror,
                extra={
                    "intent.id": intent.intent_id,
                    "intent.file": shown(intent.name),
                    "correlation_id": intent.correlation_id,
                },
            )
            return False
        return True

    def sync(self) -> None:
        """Make the removals durable, so that nothing comes back after its row is forgotten."""
        for handle in self._touched:
            disk.sync(handle)

    def _remove_file(self, intent: Summary, place: Place) -> None:
        name = filed_name(place, intent.name, intent.intent_id)
        match place:
            case Place.PROCESSED | Place.PROCESSED_ID:
                if _is_unchanged(self._processed, name, intent):
                    self._unlink(self._processed, name)
            case Place.FAILED | Place.FAILED_ID:
                self._remove_failed(intent, name)
            case Place.QUARANTINE:
                self._remove_quarantined(intent)
            case Place.NOWHERE | Place.GONE:
                pass

    def _remove_failed(self, intent: Summary, name: bytes) -> None:
        log_name = error_log_name(name)
        head = read_own(self._failed, log_name, ERROR_LOG_HEAD)
        is_own_log = intent_of(head or b"") == intent.intent_id
        # Of one that was never read, nothing but its log tells whose it is.
        may_be_ours = is_own_log or (head is None and intent.digest)
        if may_be_ours and _is_unchanged(self._failed, name, intent):
            self._unlink(self._failed, name)
        if is_own_log:
            # The log last: as long as it stands, it tells whose file that is.
            self._unlink(self._failed, log_name)

    def _remove_quarantined(self, intent: Summary) -> None:
        folder = intent.intent_id.encode()
        self._unlink(self._quarantine, folder + b"/" + intent.name)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(folder, dir_fd=self._quarantine)

    def _remove_verdict(self, intent: Summary) -> None:
        self._unlink(self._history, history_name(intent.intent_id))
        name = verdict_name(intent.name)
        if verdict_owner(self._status, name) == intent.intent_id:
            self._unlink(self._status, name)

    def _unlink(self, folder: int, name: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
            self._touched.add(folder)


def _is_unchanged(folder: int, name: bytes, intent: Summary) -> bool:
    if not intent.digest:
        return _is_as_large(folder, name, intent)
    try:
        handle = open_own(folder, name)
    except FileNotFoundError:
        return False
    if handle is None:
        return False
    with open(handle, "rb", buffering=0) as file:
        if os.fstat(handle).st_size != intent.size:
            return False
        return hashlib.file_digest(file, "sha256").hexdigest() == intent.digest


def _is_as_large(folder: int, name: bytes, intent: Summary) -> bool:
    """What can be told of a file that was refused without being read."""
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(facts.st_mode) and facts.st_size == intent.size
