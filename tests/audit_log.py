"""An audit log in a folder of its own, written by the real projection, read by the real proof."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from conductor_loop import disk
from conductor_loop.core.audit.records import AuditRecord, decode_line
from conductor_loop.core.audit.verification import Verified, verify
from conductor_loop.core.events import Event, Started
from conductor_loop.core.records import Entry
from conductor_loop.projections.audit.log import AuditLog, AuditPolicy
from conductor_loop.projections.audit.reading import lines_of
from conductor_loop.projections.audit.start import open_audit
from tests.fakes import FakeClock
from tests.fakes_catalog import CatalogInMemory
from tests.handoff_folder import PUBLISHED, admitted, carried_out, id_of
from tests.signing import KNOWN, SIGNER

NEVER = timedelta(0)
POLICY = AuditPolicy(1 << 30, NEVER, NEVER)


@dataclass(slots=True)
class JournalInMemory:
    """The parts of `ports.Feed` and `ports.Catalog` that a log asks when it is opened."""

    catalog: CatalogInMemory = field(default_factory=CatalogInMemory)
    relayed: int = 0

    def position(self) -> int:
        """See `ports.Feed`."""
        return self.relayed

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `ports.Feed`."""
        return [entry for entry in self.catalog.entries if entry.seq > seq][:limit]

    def of_service(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `gaps.Relayed`."""
        return [
            entry for entry in self.after(seq, len(self.catalog.entries)) if not entry.intent_id
        ][:limit]


@dataclass(slots=True)
class Stage:
    """A state dir with a journal in memory and an audit log on disk."""

    state: Path
    journal: JournalInMemory = field(default_factory=JournalInMemory)
    clock: FakeClock = field(default_factory=FakeClock)
    policy: AuditPolicy = POLICY

    @property
    def folder(self) -> Path:
        """Where the files of the log are."""
        return self.state / "audit"

    @property
    def files(self) -> list[Path]:
        """The files of the log, oldest first."""
        return sorted(self.folder.glob("*.jsonl"))

    @contextmanager
    def opened(self) -> Iterator[AuditLog]:
        """A daemon's time with the log."""
        state = disk.open_folder(os.fspath(self.state))
        journal = self.journal
        try:
            with open_audit(
                state, journal, journal.catalog, SIGNER, self.clock, self.policy
            ) as log:
                yield log
        finally:
            os.close(state)

    def record(self, number: int, *events: Event) -> list[Entry]:
        """Journal events of one intent."""
        return [self.journal.catalog.record(id_of(number), event) for event in events]

    def run(self, number: int) -> list[Entry]:
        """Journal an intent from its claim to its end."""
        return self.record(number, admitted(), Started(1), PUBLISHED)

    def relay(self, log: AuditLog, entries: Sequence[Entry]) -> None:
        """Apply as the relay does, and move its position."""
        carried_out(log.apply(entries))
        self.journal.relayed = max(self.journal.relayed, entries[-1].seq)

    def work(self, numbers: Sequence[int], batch: int = 4) -> None:
        """Have a daemon run some intents, so many entries at a time, and end in order."""
        with self.opened() as log:
            entries = [entry for number in numbers for entry in self.run(number)]
            for start in range(0, len(entries), batch):
                self.relay(log, entries[start : start + batch])

    def records(self) -> list[AuditRecord]:
        """Every record, oldest first."""
        return [decode_line(line.raw) for line in lines_of(self.state)]

    def verified(self, **anchors: str) -> Verified:
        """Prove it; anchors as `at_SIZE=ROOT`."""
        sizes = {int(name.removeprefix("at_")): root for name, root in anchors.items()}
        return verify(lines_of(self.state), KNOWN, sizes)

    def change(self, change: Callable[[list[bytes]], object], file: int = 0) -> None:
        """Forge: change the lines of one file as somebody with a text editor would."""
        path = self.files[file]
        lines = path.read_bytes().splitlines(keepends=True)
        change(lines)
        path.write_bytes(b"".join(lines))
