"""The journal in memory: it passes the same contract suite as the one on disk."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from conductor_loop.core.events import (
    Admitted,
    BreakerClosed,
    BreakerOpened,
    Duplicated,
    HandedBack,
    IntentEvent,
    Noticed,
    Paused,
    Quarantined,
    Receipt,
    Rejected,
    Resumed,
    RetryScheduled,
    Started,
    Tidied,
)
from conductor_loop.core.faults import NoRoom
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Known, Pause, Record, Summary, Unfinished
from conductor_loop.core.states import FINAL, RETRIABLE, State, evolve
from conductor_loop.ports import Clock

_Arrived = Admitted | Rejected | Quarantined | Duplicated
_Service = Paused | Resumed | BreakerOpened | BreakerClosed | Noticed | Tidied
_NEVER_RUN = frozenset({State.REJECTED, State.QUARANTINED, State.DUPLICATE})


@dataclass(frozen=True, slots=True)
class Row:
    """One intent as the fake keeps it."""

    intent_id: str
    seq: int
    receipt: Receipt
    target: Target
    state: State
    final_at: datetime | None
    body: bytes | None
    priority: int = 0
    timeout: timedelta | None = None
    correlation_id: str = ""
    retry_of: str | None = None
    runs: int = 0
    failures: int = 0
    crashes: int = 0
    not_before: datetime | None = None
    filed: str | None = None


@dataclass(slots=True)
class Memory:
    """What a fake journal keeps when it is closed and opened again."""

    rows: dict[str, Row] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    last_seq: int = 0
    position: int = 0
    parked: dict[int, str] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    imported: set[tuple[bytes, str]] = field(default_factory=set)
    told: set[int] = field(default_factory=set)
    going: int = 0


class FakeJournal:
    """`ports.Journal`, `ports.Feed`, `ports.Catalog`, and what retention and commands ask."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._is_full = False
        self._is_abandoned = False
        self._is_over = False
        self._changed = asyncio.Event()

    # Writing.

    @property
    def lacks_room(self) -> bool:
        return self._is_full

    def fill(self) -> None:
        """Let there be no room from now on."""
        self._is_full = True

    def make_room(self) -> None:
        """Let there be room again."""
        self._is_full = False
        self._changed.set()

    def abandon(self) -> None:
        self._is_abandoned = True
        self._changed.set()

    async def record(self, records: Sequence[Record]) -> Sequence[int]:
        # As on disk: what was asked for happens, also when the caller does not wait for it.
        return await asyncio.shield(asyncio.ensure_future(self._record(records)))

    async def _record(self, records: Sequence[Record]) -> Sequence[int]:
        await self._commit()
        rows, at = dict(self._memory.rows), self._clock.now()
        # A record that cannot be leaves here with an exception, and nothing has changed yet.
        entries = [
            _add(rows, record, seq, at)
            for seq, record in enumerate(records, self._memory.last_seq + 1)
        ]
        self._memory.rows = rows
        for entry in entries:
            self._keep(entry)
        self._changed.set()
        return [entry.seq for entry in entries]

    async def lease(self, starts: Sequence[tuple[str, int]]) -> Sequence[tuple[str, bytes]]:
        await self.record([Record(intent_id, Started(attempt)) for intent_id, attempt in starts])
        return [(intent_id, self.body(intent_id)) for intent_id, _ in starts]

    async def advance(self, seq: int, *, filed: Sequence[tuple[str, str]] = ()) -> None:
        await self._commit()
        self._memory.position = seq
        for intent_id, place in filed:
            self._memory.rows[intent_id] = replace(self._memory.rows[intent_id], filed=place)

    async def park(self, entry: Entry, why: str) -> None:
        await self._commit()
        self._memory.parked[entry.seq] = why
        self._memory.position = entry.seq

    async def unpark(self, seq: int, *, filed: Sequence[tuple[str, str]] = ()) -> None:
        await self._commit()
        self._memory.parked.pop(seq, None)
        for intent_id, place in filed:
            self._memory.rows[intent_id] = replace(self._memory.rows[intent_id], filed=place)

    async def forget(self, intent_ids: Sequence[str], told_by: int) -> None:
        await self._commit()
        memory = self._memory
        memory.told.add(told_by)
        memory.going = 0 if memory.going == told_by else memory.going
        memory.entries = [
            self._shrunk(e) for e in memory.entries if e.intent_id not in {*intent_ids}
        ]
        for intent_id in intent_ids:
            row = self._memory.rows[intent_id]
            if self._is_newest_admitted(row):
                self._memory.rows[intent_id] = replace(row, filed="gone")
            else:
                del self._memory.rows[intent_id]

    def _shrunk(self, entry: Entry) -> Entry:
        memory = self._memory
        if (
            entry.seq > memory.position
            or entry.seq in memory.parked
            or entry.seq not in memory.told
        ):
            return entry
        memory.told.remove(entry.seq)
        if not isinstance(entry.event, Tidied):
            return entry
        return Entry(seq=entry.seq, at=entry.at, event=Tidied(()))

    async def remember_imported(self, rows: Sequence[tuple[bytes, str, int]], source: str) -> None:
        await self._commit()
        self._memory.imported |= {(name, digest) for name, digest, _ in rows}

    # The feed.

    def position(self) -> int:
        return self._memory.position

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        entries = self._memory.entries
        start = bisect_right(entries, seq, key=lambda entry: entry.seq)
        return entries[start : start + limit]

    async def committed(self, seq: int) -> None:
        while self._memory.last_seq <= seq:
            if self._is_over:
                raise _no_room()
            await self._change()

    def parked(self) -> Sequence[tuple[Entry, str]]:
        parked = self._memory.parked
        return [(e, parked[e.seq]) for e in self._memory.entries if e.seq in parked]

    # The catalog.

    def last_seq(self) -> int:
        return self._memory.last_seq

    def newest(self, target: Target) -> Known | None:
        admitted = [r for r in self._rows() if r.target == target and r.state not in _NEVER_RUN]
        if not admitted:
            return None
        last = admitted[-1]
        is_gone = last.filed == "gone"
        receipt = last.receipt
        return Known(last.intent_id, receipt.name, receipt.digest, last.state, is_gone, last.seq)

    def imported(self, name: bytes, digest: str) -> bool:
        return (name, digest) in self._memory.imported

    def state(self, intent_id: str) -> State:
        row = self._memory.rows.get(intent_id)
        return State.NEW if row is None else row.state

    def body(self, intent_id: str) -> bytes:
        row = self._memory.rows.get(intent_id)
        if row is None or row.body is None:
            raise KeyError(intent_id)
        return row.body

    def unfinished(self) -> Sequence[Unfinished]:
        return [_unfinished(row) for row in self._rows() if row.final_at is None]

    def known_ids(self, ids: Collection[str]) -> set[str]:
        return set(ids) & self._memory.rows.keys()

    def history(self, intent_id: str) -> Sequence[Entry]:
        return [entry for entry in self._memory.entries if entry.intent_id == intent_id]

    def predecessor(self, name: bytes, intent_id: str) -> str | None:
        seq = self._memory.rows[intent_id].seq
        return next((r.intent_id for r in self._judged(name)[::-1] if r.seq < seq), None)

    def successor(self, name: bytes, intent_id: str) -> str | None:
        seq = self._memory.rows[intent_id].seq
        return next((r.intent_id for r in self._judged(name) if r.seq > seq), None)

    def overtaken(self, intent_ids: Sequence[str]) -> set[str]:
        names = {each: self._memory.rows[each].receipt.name for each in intent_ids}
        return {each for each, name in names.items() if self.successor(name, each) is not None}

    # What commands and retention ask.

    def counts(self) -> dict[State, int]:
        states = [row.state for row in self._rows()]
        return {state: states.count(state) for state in set(states)}

    def pauses(self) -> Sequence[Pause]:
        return [pause for _, pause in sorted(self._memory.pauses.items())]

    def summary(self, intent_id: str) -> Summary | None:
        row = self._memory.rows.get(intent_id)
        return None if row is None else _summary(row)

    def retried_as(self, intent_id: str) -> Summary | None:
        later = [row for row in self._rows() if row.retry_of == intent_id]
        return _summary(later[-1]) if later else None

    def final_before(
        self, cutoff: datetime, states: Collection[State], limit: int
    ) -> Sequence[Summary]:
        old = [
            row
            for row in self._rows()
            if row.final_at is not None and row.final_at < cutoff and row.state in states
            if row.filed is not None
            if row.filed != "gone" or not self._is_newest_admitted(row)
        ]
        return [_summary(row) for row in sorted(old, key=lambda r: r.final_at or cutoff)][:limit]

    def told_to_go(self) -> tuple[int, Sequence[Summary]]:
        seq = self._memory.going
        events = [entry.event for entry in self._memory.entries if entry.seq == seq]
        ids = [each for e in events if isinstance(e, Tidied) for each in e.intent_ids]
        rows = [self._memory.rows[each] for each in ids if each in self._memory.rows]
        return seq, [_summary(row) for row in rows if row.filed not in (None, "gone")]

    async def _commit(self) -> None:
        await asyncio.sleep(0)
        while self._is_full and not self._is_over:
            if self._is_abandoned:
                self._is_over = True
                self._changed.set()
            else:
                await self._change()
        if self._is_over:
            raise _no_room()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _keep(self, entry: Entry) -> None:
        self._memory.entries.append(entry)
        self._memory.last_seq = entry.seq
        match entry.event:
            case Paused(by, why, target):
                self._memory.pauses[target] = Pause(target, by, why, entry.at)
            case Resumed(target=target):
                self._memory.pauses.pop(target, None)
            case Tidied():
                self._memory.going = entry.seq

    def _rows(self) -> Iterator[Row]:
        return iter(self._memory.rows.values())

    def _judged(self, name: bytes) -> list[Row]:
        rows = [r for r in self._rows() if r.receipt.name == name]
        return [row for row in rows if row.state is not State.DUPLICATE]

    def _is_newest_admitted(self, row: Row) -> bool:
        newest = self.newest(row.target)
        return newest is not None and newest.intent_id == row.intent_id


def _no_room() -> NoRoom:
    return NoRoom("the fake has no room")


def _add(rows: dict[str, Row], record: Record, seq: int, at: datetime) -> Entry:
    """Evolve the intent of a record in `rows`; return what the feed will say."""
    event, intent_id = record.event, record.intent_id
    if isinstance(event, _Service):
        return Entry(seq, at, event)
    assert intent_id is not None
    before = rows.get(intent_id)
    state = evolve(before.state if before else State.NEW, event)
    row = _evolved(before, event, state) if before else _arrived(record, state, seq)
    if state in FINAL:
        kept = row.body if state in RETRIABLE else None
        row = replace(row, final_at=at, body=kept)
    rows[intent_id] = row
    return Entry(
        seq, at, event, intent_id, row.receipt, row.target, row.correlation_id, row.retry_of
    )


def _arrived(record: Record, state: State, seq: int) -> Row:
    event = record.event
    assert isinstance(event, _Arrived)
    assert record.intent_id is not None
    row = Row(record.intent_id, seq, event.receipt, Target("", ""), state, None, record.body)
    if isinstance(event, Quarantined):
        return row
    row = replace(
        row,
        target=Target(event.namespace, event.target),
        correlation_id=event.correlation_id,
    )
    if isinstance(event, Admitted):
        row = replace(row, priority=event.priority, timeout=event.timeout, retry_of=event.retry_of)
    return row


def _evolved(before: Row, event: IntentEvent, state: State) -> Row:
    not_before = None
    if state in FINAL:
        not_before = before.not_before
    elif isinstance(event, RetryScheduled | HandedBack):
        not_before = event.not_before
    row = replace(before, state=state, not_before=not_before)
    match event:
        case Started(attempt):
            return replace(row, runs=attempt)
        case RetryScheduled():
            return replace(row, failures=row.failures + 1)
        case HandedBack() if event.is_crash:
            return replace(row, crashes=row.crashes + 1)
        case _:
            return row


def _unfinished(row: Row) -> Unfinished:
    return Unfinished(
        intent_id=row.intent_id,
        seq=row.seq,
        name=row.receipt.name,
        target=row.target,
        priority=row.priority,
        received_at=row.receipt.received_at,
        state=row.state,
        runs=row.runs,
        failures=row.failures,
        crashes=row.crashes,
        timeout=row.timeout,
        not_before=row.not_before,
        size=row.receipt.size,
    )


def _summary(row: Row) -> Summary:
    return Summary(
        intent_id=row.intent_id,
        seq=row.seq,
        name=row.receipt.name,
        digest=row.receipt.digest,
        size=row.receipt.size,
        target=row.target,
        priority=row.priority,
        state=row.state,
        received_at=row.receipt.received_at,
        final_at=row.final_at,
        runs=row.runs,
        failures=row.failures,
        crashes=row.crashes,
        not_before=row.not_before,
        correlation_id=row.correlation_id,
        submitted_by=row.receipt.submitted_by,
        retry_of=row.retry_of,
        filed=row.filed,
    )
