"""A real handoff folder with claims in it, and the events of intents that end in each way."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from conductor_loop import disk
from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    Failed,
    Failure,
    FailureKind,
    Output,
    Published,
    Quarantined,
    Receipt,
    Rejected,
    RetryScheduled,
    Run,
    Skipped,
    SkipReason,
    Started,
    TimedOut,
)
from conductor_loop.core.faults import Fault
from conductor_loop.core.identity import ulid
from conductor_loop.core.places import claimed_path
from conductor_loop.core.records import Entry
from conductor_loop.core.verdict import Service
from conductor_loop.ports import Steps
from tests.fakes_catalog import BEGINNING, CatalogInMemory

NAME = b"intent-scale-up-001.json"
BODY = b'{"intent_type": "scaling"}'
ABOUT = Service("0.1.0", "direct", "porch", "c" * 64)
_NOBODY = 65_534


def NOT_AUDITED(journal_seq: int) -> int | None:  # noqa: N802  a constant that is called
    """There is no audit log."""
    return None


RUN = Run(1, 0, BEGINNING, timedelta(seconds=2.5), "b" * 64)
BAD_EXIT = Failure(
    FailureKind.PERMANENT,
    "porch_exit",
    "porch exited with 2",
    hint="the target does not exist",
    exit_code=2,
    stderr="no such target\n",
)
LATE = Failure(FailureKind.TIMEOUT, "deadline", "porch ran longer than 30s", exit_code=124)
FAULTS = (
    Fault("replicas_out_of_range", "must be from 0 to 100", "lower it", "/replicas"),
    Fault("unknown_field", "is not part of the contract", "", "/colour"),
)


def id_of(number: int) -> str:
    """The id of the n-th intent of a test."""
    return ulid(1_772_361_000_000 + number, number)


def receipt(name: bytes = NAME, body: bytes = BODY) -> Receipt:
    """What the claim of a regular file notes."""
    digest = hashlib.sha256(body).hexdigest()
    return Receipt(name, BEGINNING, len(body), digest, "planner")


@dataclass(frozen=True, slots=True)
class OpenFolders:
    """`projections.folders.Folders`."""

    processed: int
    failed: int
    status: int
    history: int
    claimed: int
    quarantine: int
    modes: disk.Modes = field(default=disk.DEFAULT_MODES, kw_only=True)


@dataclass(frozen=True, slots=True)
class HandoffFolder:
    """A handoff folder and its `.conductor`, a journal in memory, and everything open."""

    path: Path
    private: Path
    folders: OpenFolders
    catalog: CatalogInMemory

    def claim(self, number: int, name: bytes = NAME, body: bytes = BODY) -> str:
        """Put a claimed file where the source leaves it; return its id."""
        intent_id = id_of(number)
        place = self.claimed(number, name)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(body)
        return intent_id

    def claimed(self, number: int, name: bytes = NAME) -> Path:
        """Where the claim of one file stands."""
        return self.private / "claimed" / os.fsdecode(claimed_path(id_of(number), name))

    def run(
        self, number: int, *ending: Event, name: bytes = NAME, body: bytes = BODY
    ) -> list[Entry]:
        """Claim a file, admit it, start it, and let the given events follow."""
        intent_id = self.claim(number, name, body)
        return self.follow(intent_id, admitted(name, body), Started(1), *ending)

    def follow(self, intent_id: str, *events: Event) -> list[Entry]:
        """Journal events of one intent."""
        return [self.catalog.record(intent_id, event) for event in events]

    def tree(self) -> dict[str, str]:
        """Everything below both folders: path to what it is and holds."""
        found = dict(_described(self.path, self.path))
        if self.path not in self.private.parents:
            found |= dict(_described(self.private, self.private))
        return found

    def names(self, folder: str) -> set[str]:
        """The names in one folder, hidden ones too, folders left out."""
        root = self.private if folder.startswith(("claimed", "quarantine")) else self.path
        return {p.name for p in (root / folder).iterdir() if p.is_symlink() or not p.is_dir()}


@contextmanager
def handoff_folder(path: Path, private: Path | None = None) -> Iterator[HandoffFolder]:
    """Make one and hold it open; `private` may lie on another file system."""
    private = private or path / ".conductor"
    for name in ("processed", "failed", "status/history"):
        (path / name).mkdir(parents=True)
    for name in ("claimed", "quarantine"):
        (private / name).mkdir(parents=True, mode=0o700)
    public = [path / folder for folder in ("processed", "failed", "status", "status/history")]
    with ExitStack() as stack:
        handles = []
        for folder in (*public, private / "claimed", private / "quarantine"):
            handles.append(disk.open_folder(str(folder)))
            stack.callback(os.close, handles[-1])
        yield HandoffFolder(path, private, OpenFolders(*handles), CatalogInMemory())


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """For root modes mean nothing, and the daemon is never root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def admitted(name: bytes = NAME, body: bytes = BODY, retry_of: str | None = None) -> Admitted:
    """An admission with everything that a verdict repeats."""
    taken = receipt(name, body)
    return Admitted(taken, "oran-sim", "cnf-simulator", 5, "scale-2024-001", retry_of=retry_of)


def rejected(name: bytes = NAME, body: bytes = BODY) -> Rejected:
    """A refusal with two faults."""
    return Rejected(receipt(name, body), FAULTS, "oran-sim", "cnf-simulator")


def quarantined(name: bytes = NAME) -> Quarantined:
    """A symlink that was set aside; its bytes were never read."""
    fault = Fault("not_a_regular_file", "is a symlink", "hand over a regular file")
    return Quarantined(Receipt(name, BEGINNING), fault)


def duplicated(first: str, name: bytes = NAME, body: bytes = BODY) -> Duplicated:
    """The same file again."""
    return Duplicated(receipt(name, body), "oran-sim", "cnf-simulator", first)


PUBLISHED = Published(RUN, (Output("oran-sim/cnf-simulator/scaling-patch.yaml", "a" * 64),))
FAILED = Failed(BAD_EXIT, RUN)
TIMED_OUT = TimedOut(RUN, LATE)
TO_BE_RETRIED = RetryScheduled(RUN, LATE, BEGINNING + timedelta(seconds=9))
CANCELLED = Skipped(SkipReason.CANCELLED, by="alice", why="wrong window")


def _described(root: Path, folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        text = stat.filemode(facts.st_mode)
        if stat.S_ISREG(facts.st_mode):
            text += " " + path.read_bytes().decode("utf-8", "backslashreplace")
        yield f"{root.name}/{path.relative_to(root)}", text


def carried_out(steps: Steps) -> Sequence[tuple[str, str]]:
    """Take a view alone to its end, each of its steps durable before the next."""
    while True:
        try:
            disk.sync_each(next(steps))
        except StopIteration as end:
            places: Sequence[tuple[str, str]] = end.value
            return places
