"""The audit log as a view of the journal: one chained record per entry, one signature per batch.

It goes first of all views, so a verdict can name its record, and is shown after it is durable.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from conductor_loop import disk
from conductor_loop.core.audit.draft import Draft
from conductor_loop.core.audit.ledger import GAP, INNOCENT, Gap, Ledger, standing_of
from conductor_loop.core.audit.note import signed_checkpoint
from conductor_loop.core.audit.records import Details
from conductor_loop.core.records import Entry
from conductor_loop.core.security_events import Severity
from conductor_loop.core.sure_time import SureTime
from conductor_loop.ports import Clock, Signer, Steps
from conductor_loop.projections.audit.files import (
    NOTE,
    LogFile,
    find_entry,
    first_record,
    make_file,
    names,
)

_log = logging.getLogger("conductor_loop.audit")
_CHECKPOINT_EVERY = 4096
"""Records between two checkpoints; a start reads as many."""
_REMEMBERED = 8192
"""Entries whose record is known without looking: more than a crash lets come again."""


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """When a file of the log is full, and how long files are kept; zero means for ever."""

    file_bytes: int
    file_age: timedelta
    retention: timedelta


class AuditLog:
    """`ports.Projection`; `seq_of` tells verdicts which record is theirs."""

    def __init__(
        self, folder: int, file: LogFile, ledger: Ledger, signer: Signer, clock: Clock,
        policy: AuditPolicy,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._file = file
        self._ledger = ledger
        self._signer = signer
        self._clock = clock
        # No steady clock vouches for the time since the last daemon: its newest record does.
        self._time = SureTime(min(clock.now(), file.newest), clock.steady())
        self._policy = policy
        self._seqs: dict[int, int] = {}
        self._checkpointed = ledger.size
        self.gap: Gap | None = None
        """What this log does not tell, as it was found when it was taken up."""

    def apply(self, entries: Sequence[Entry]) -> Steps:
        """See `ports.Projection`. Entries that the log tells already change nothing."""
        new = [entry for entry in entries if entry.seq > self._ledger.journal_seq]
        if not new:
            return ()
        if self._is_full():
            self._rotate()
        draft = self._draft()
        draft.tell(new)
        is_due = draft.size - self._checkpointed >= max(_CHECKPOINT_EVERY, len(self._ledger.open))
        if is_due:
            draft.note_standing("log.checkpoint", self._clock.now(), {})
        self._append(draft)
        self._warn_of(draft)
        try:
            yield (self._file.handle,)
        except GeneratorExit:
            # Another view cannot take this batch. It may be set aside, but never past this log.
            disk.sync(self._file.handle)
            raise
        if is_due:
            self._publish_checkpoint()
        return ()

    def seq_of(self, journal_seq: int) -> int | None:
        """The record that tells an entry of the journal; None when none does."""
        known = self._seqs.get(journal_seq)
        return known if known is not None else find_entry(self._folder, journal_seq)

    def remember(self, seqs: dict[int, int]) -> None:
        """Know where entries are told that an earlier daemon wrote."""
        self._seqs.update(seqs)

    def note(self, action: str, details: Details, severity: str = "") -> None:
        """Add a record about the log itself, durably. Raises OSError and DurabilityLost."""
        draft = self._draft()
        draft.note(action, self._clock.now(), details, severity)
        self._append(draft)
        disk.sync(self._file.handle)

    def open_with(self, details: Details) -> None:
        """Say that a daemon opened the log, durably."""
        draft = Draft(self._ledger.copy())
        draft.note_standing("log.opened", self._clock.now(), details)
        self._append(draft)
        disk.sync(self._file.handle)
        disk.sync(self._folder)

    def skip(self, gap: Gap) -> None:
        """Say which entries this log does not tell, durably."""
        self.gap = gap
        is_innocent = gap.reason in INNOCENT
        severity = Severity.MEDIUM if is_innocent else Severity.CRITICAL
        self.note(GAP, msgspec.to_builtins(gap), severity)
        _log.log(
            logging.INFO if is_innocent else logging.ERROR,
            "the audit log does not tell entries after %d, up to %d: %s",
            gap.after, gap.to, gap.reason,
        )  # fmt: skip

    def close(self) -> None:
        """Say that the daemon ended in order, and leave a checkpoint of all records."""
        with contextlib.suppress(OSError):  # no room: the next start says that this one was cut
            draft = self._draft()
            draft.note_standing("log.closed", self._clock.now(), {})
            self._append(draft)
            disk.sync(self._file.handle)
            self._publish_checkpoint()
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file without a word, as a crash would."""
        self._file.close()

    def prune(self) -> None:
        """Remove files past their retention; a record that says so is durable before."""
        if not self._policy.retention:
            return
        gone, kept = self._past_retention()
        if not gone:
            return
        details = self._removal(gone, kept)
        self.note("log.pruned", details)
        for name in gone:
            os.unlink(name, dir_fd=self._folder)
        disk.sync(self._folder)
        _log.info("removed %d files of the audit log past their retention", len(gone))

    def _past_retention(self) -> tuple[list[bytes], bytes]:
        """The files whose newest record is too old, and the oldest of the others."""
        now = self._time.at(self._clock.now(), self._clock.steady())
        limit = now - self._policy.retention
        files = names(self._folder)
        for index, name in enumerate(files[1:]):
            head = first_record(self._folder, name)
            if head is None or datetime.fromisoformat(head.timestamp) >= limit:
                return files[:index], files[index]
        return files[:-1], files[-1]

    def _removal(self, gone: Sequence[bytes], kept: bytes) -> Details:
        first, head = first_record(self._folder, gone[0]), first_record(self._folder, kept)
        assert first is not None
        assert head is not None
        return {
            "files": [os.fsdecode(name) for name in gone],
            "first_seq": first.seq,
            "kept": msgspec.to_builtins(standing_of(head.details)),
            "last_seq": head.seq - 1,
        }

    def _is_full(self) -> bool:
        age = self._clock.now() - self._file.since
        return self._file.end > 0 and (
            self._file.end >= self._policy.file_bytes
            or (bool(self._policy.file_age) and age >= self._policy.file_age)
        )

    def _rotate(self) -> None:
        """End this file with its root; the next one begins with it, so each proves itself."""
        draft = Draft(self._ledger.copy())
        draft.note_standing("log.rotated", self._clock.now(), {})
        self._append(draft)
        disk.sync(self._file.handle)
        self.begin_file()
        self._publish_checkpoint()
        self.prune()

    def begin_file(self) -> None:
        """Go on in a new file, whose first record says where the log stood."""
        now = self._clock.now()
        file = make_file(self._folder, self._ledger.size + 1, now)
        draft = Draft(self._ledger.copy())
        draft.note_standing("log.continued", now, {"after": os.fsdecode(self._file.name)})
        old, self._file = self._file, file
        try:
            self._append(draft)
        except BaseException:
            self._file = old
            file.close()
            os.unlink(file.name, dir_fd=self._folder)
            raise
        disk.sync(file.handle)
        disk.sync(self._folder)
        old.close()

    def _draft(self) -> Draft:
        return Draft(self._ledger.copy())

    def _append(self, draft: Draft) -> None:
        """Write a draft, not yet durable. Raises OSError, with nothing changed."""
        self._file.append(draft.finished(self._signer.kid, self._signer.sign))
        self._ledger = draft.ledger
        self._seqs.update(draft.seqs)
        while len(self._seqs) > _REMEMBERED:
            del self._seqs[next(iter(self._seqs))]

    @staticmethod
    def _warn_of(draft: Draft) -> None:
        for broken in draft.broken:
            _log.error("the journal contradicts the audit log: %s", broken.message)

    def _publish_checkpoint(self) -> None:
        """Write the note that others can keep, and put its root into the log of the daemon."""
        ledger = self._ledger
        self._checkpointed = ledger.size
        root = ledger.tree.root()
        note = signed_checkpoint(
            ledger.origin, ledger.size, root, self._signer.public, self._signer.sign
        )
        try:
            with _replaced(self._folder, NOTE) as handle:
                os.write(handle, note)
        except OSError as error:  # the log itself is whole
            _log.warning("the audit checkpoint cannot be written: %s", error.strerror)
        _log.info("audit checkpoint %d:%s", ledger.size, root.hex())


@contextlib.contextmanager
def _replaced(folder: int, name: bytes) -> Iterator[int]:
    """A new file, durable and under its name when the block ends; its data first."""
    fresh = name + b".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(fresh, dir_fd=folder)
    handle = disk.write_new(folder, fresh, b"", 0o600)
    try:
        yield handle
        disk.sync(handle)
    finally:
        os.close(handle)
    os.rename(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
