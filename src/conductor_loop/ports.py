"""What the loops need of the world. Each docstring is a contract; `tests/contract` tests it."""

from __future__ import annotations

from collections.abc import Collection, Container, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from conductor_loop.core.arrival import Arrival, Lease, Outcome
from conductor_loop.core.distribution import Parcel, Passing
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Known, Pause, Record, Summary, Unfinished
from conductor_loop.core.states import State


class Clock(Protocol):
    """Wall time for records, steady time for waiting; never the one for the other."""

    def now(self) -> datetime:
        """Wall time, UTC, aware."""

    def steady(self) -> float:
        """Seconds on a clock that never steps back; its zero means nothing."""

    async def sleep(self, seconds: float) -> None:
        """Wait on the steady clock."""


class Source(Protocol):
    """Where intents come from. Claiming is exclusive and durable before it returns."""

    blocked_by: OSError | None
    """What keeps it from claiming anything at all for now, if anything."""

    @property
    def held_open(self) -> bytes | None:
        """A file that is not claimed because somebody has it open for writing, if there is one."""

    async def take(self, room: int) -> Sequence[Arrival]:
        """Claim up to `room` complete files, oldest first; wait until there is at least one.

        Returns an empty sequence only when nothing will ever come (`-once`, listing drained).
        A file that cannot be claimed for now stays where it is and is tried again later.
        Ids rise in the order of the sequence.
        """

    async def leftovers(self, known: Container[str]) -> Sequence[Arrival]:
        """Files that a dead daemon claimed without journalling: every claim not in `known`."""


class Outlet(Protocol):
    """Where a distributor's files go, by ordinal."""

    def pass_on(self, parcel: Parcel, ordinal: int) -> Passing:
        """Move a claimed file there, once, and never over another; nothing is doubled or lost.

        `NAME_TAKEN` and `NOT_NOW`: it is where it was; try again. Raises DurabilityLost.
        """

    def sync(self) -> None:
        """Make the moves so far durable. Raises DurabilityLost."""


class Journal(Protocol):
    """The only write path. The queue, the history and the bus are one."""

    @property
    def lacks_room(self) -> bool:
        """Whether commits wait for room on the disk."""

    def abandon(self) -> None:
        """Stop waiting for room: what waits, and everything later, raises NoRoom."""

    async def record(self, records: Sequence[Record]) -> Sequence[int]:
        """Append in order, evolve each intent's state, commit, sync; then return the seqs.

        All or nothing. Raises IllegalTransition (nothing written) and DurabilityLost (stop).
        A full disk is waited out: the call returns once there is room, or raises NoRoom after
        `abandon`.
        """

    async def lease(self, starts: Sequence[tuple[str, int]]) -> Sequence[tuple[str, bytes]]:
        """Record `Started(attempt)` for each (intent id, attempt); return ids with their bytes."""

    async def forget(self, intent_ids: Sequence[str], told_by: int) -> None:
        """Drop everything about final intents whose views are gone.

        Of the newest admitted one of a target name and digest stay: duplicates are told by them.
        `told_by` is the seq of the `Tidied` that names them. It loses its ids with the first call
        that finds it applied by every view: nobody asks for them again.
        """


class Feed(Protocol):
    """The journal in order, for the relay."""

    def position(self) -> int:
        """The seq up to which the views are in line; 0 at first."""

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """The next committed entries, oldest first; empty when there are none."""

    async def committed(self, seq: int) -> None:
        """Wait until an entry with a higher seq is committed."""

    async def advance(self, seq: int, *, filed: Sequence[tuple[str, str]] = ()) -> None:
        """Make the position durable, with where the files of these intents ended.

        Nobody hurries with that: it may go along with the next commit.
        """

    async def park(self, entry: Entry, why: str) -> None:
        """Set an entry aside that a view cannot take, so that later ones go on; tried again."""

    def parked(self) -> Sequence[tuple[Entry, str]]:
        """Entries set aside, oldest first."""

    async def unpark(self, seq: int, *, filed: Sequence[tuple[str, str]] = ()) -> None:
        """An entry set aside has been applied after all; where its file ended, if it has one."""


class Catalog(Protocol):
    """Questions to the journal; each sees every committed write."""

    def last_seq(self) -> int:
        """The highest seq ever given out."""

    def newest(self, target: Target) -> Known | None:
        """The newest admitted intent of a target."""

    def imported(self, name: bytes, digest: str) -> bool:
        """Whether the original program had processed this very file."""

    def state(self, intent_id: str) -> State:
        """Where an intent stands; NEW when there is none of that id."""

    def body(self, intent_id: str) -> bytes:
        """The bytes of an intent. Raises KeyError when they are not kept (any more)."""

    def unfinished(self) -> Sequence[Unfinished]:
        """Every intent that has no final state, in journal order."""

    def pauses(self) -> Sequence[Pause]:
        """The pauses in force, by target."""

    def known_ids(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that have a row."""

    def history(self, intent_id: str) -> Sequence[Entry]:
        """Everything that happened to one intent, oldest first."""

    def predecessor(self, name: bytes, intent_id: str) -> str | None:
        """The id of the last intent of this name before this one whose verdict has the name."""

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """The id of the first intent of this name after this one that gets a verdict."""

    def overtaken(self, intent_ids: Sequence[str]) -> set[str]:
        """Those of several intents that have a `successor`."""

    def final_before(
        self, cutoff: datetime, states: Collection[State], limit: int
    ) -> Sequence[Summary]:
        """Final intents old enough to be forgotten, oldest first, views already in line.

        One that was forgotten as far as it may be does not come again.
        """

    def told_to_go(self) -> tuple[int, Sequence[Summary]]:
        """What the newest `Tidied` names and nobody forgot: a daemon that died left it; its seq.

        Nothing once `forget` was told of that one.
        """


class Publisher(Protocol):
    """Turns an admitted intent into its effect, at least once. Expected failures are returned."""

    @property
    def program_sha256(self) -> str:
        """The hash, in hex, of the program that it runs: the one that was there at start, or an
        accepted one; empty: it runs none."""

    @property
    def sandbox(self) -> str:
        """The layer of confinement that its attempts run under, as verdicts name it."""

    def replacement(self) -> str:
        """The hash of another program that stands there now and that it told of and did not run.

        Empty: there is none. Raises ConductorError when nobody's word makes it fit to be run.
        """

    def accept(self, sha256: str) -> None:
        """Run the program of this hash from now on, which `replacement` has just named."""

    async def publish(self, lease: Lease) -> Outcome:
        """Run one attempt to its end or to `lease.timeout`; no process survives the return."""

    async def settle_output(self) -> None:
        """Make everything delivered so far survive a power cut. Raises DurabilityLost."""

    async def stop(self, intent_id: str) -> None:
        """End a running attempt at once; its `publish` returns Abandoned."""

    async def recall(self) -> None:
        """Begin nothing of what was sent ahead: its `publish` returns Abandoned("not_run").

        What has not begun when this returns does not begin, unless what begins it stands still.
        """


class Signer(Protocol):
    """Signs in the daemon's name, with the newest of its keys."""

    @property
    def kid(self) -> str:
        """The key's name: its RFC 7638 thumbprint, SHA-256, base64url without padding."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes (RFC 8032, 5.1.5)."""

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature of the message itself (RFC 8032), 64 bytes."""


Steps = Generator[Sequence[int], None, Sequence[tuple[str, str]]]
"""Work on a view: yields open files and folders that must be durable before it goes on.

They stay open until then. It returns where files of intents ended, as (intent id, place).
"""


class Notices(Protocol):
    """Where anything tells what a guard would want to know; it becomes an event of the journal."""

    def report(self, code: str, subject: str = "", *, by: str = "", **details: str) -> None:
        """Take note, from any thread; never waits, and raises only KeyError.

        `code` is one of `core.security_events.KINDS`, `subject` what it is about, `by` who did it.
        """


class Projection(Protocol):
    """A view of the journal, on disk. Applying an entry twice is the same as once.

    Views advance side by side, one sync for a step of all of them. What the last one shows
    after its first step is shown when every other view is whole and durable.
    """

    def apply(self, entries: Sequence[Entry]) -> Steps:
        """Bring the view in line. Raises OSError when it cannot be written now."""


class Tidier(Protocol):
    """Removes the views of old intents."""

    def remove(self, intents: Sequence[Summary]) -> Sequence[str]:
        """Remove file, error log and verdict of each; return the ids of which nothing is left."""


class Scrubber(Protocol):
    """Looks, now and then, whether what is kept is still what was written."""

    async def look_at(self, after: int) -> int:
        """Look at the next few intents after a seq; return where to go on, 0 at the end.

        What cannot be trusted any more is set aside, and told.
        """


class Listener(Protocol):
    """A view in memory: starts from nothing, hears every entry this process relays."""

    def hear(self, entry: Entry) -> None:
        """Take note. Must not raise or wait."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that is not what was signed, by a code of `core.security_events`."""

    intent_id: str
    seq: int
    code: str
    subject: str
    why: str


class Examiner(Protocol):
    """Looks whether what was signed is still so; writes nothing, and runs in any thread."""

    def examine(self, seq: int) -> tuple[int, list[Mismatch]]:
        """Look at a few intents behind `seq`; return where to go on, 0 at the end.

        Raises ConductorError when the journal cannot be asked.
        """

    def still(self, mismatch: Mismatch) -> bool:
        """Whether it is still so, and the intent not tidied away meanwhile."""
