"""A journal in memory: entries go in, and the questions of `ports.Catalog` are answered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from conductor_loop.core.events import (
    Admitted,
    Duplicated,
    Event,
    HandedBack,
    IntentEvent,
    Paused,
    Quarantined,
    Receipt,
    Rejected,
    Resumed,
    RetryScheduled,
    Started,
)
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Known, Pause, Summary, Unfinished, waiting_intent
from conductor_loop.core.states import FINAL, State, evolve
from conductor_loop.ports import Catalog

BEGINNING = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
_NO_RECEIPT = Receipt(b"", BEGINNING)
_NEVER_RUN = {State.REJECTED, State.QUARANTINED, State.DUPLICATE}


@dataclass(slots=True)
class _Intent:
    first: Entry
    unfinished: Unfinished | None
    state: State = State.NEW
    receipt: Receipt = _NO_RECEIPT
    body: bytes | None = None
    final_at: datetime | None = None
    filed: str | None = None


class CatalogInMemory:
    """`ports.Catalog`, with `record` as the journal's only way in; one second per entry."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._intents: dict[str, _Intent] = {}
        self._imported: set[tuple[bytes, str]] = set()

    def record(self, intent_id: str | None, event: Event, body: bytes | None = None) -> Entry:
        """Journal one event. Raises IllegalTransition, and nothing has changed."""
        seq = len(self.entries) + 1
        entry = Entry(seq, BEGINNING + timedelta(seconds=seq), event)
        if intent_id is not None:
            entry = self._evolved(intent_id, entry)
            self._intents[intent_id].body = body or self._intents[intent_id].body
        self.entries.append(entry)
        return entry

    def note_imported(self, name: bytes, digest: str) -> None:
        """Note that the original program had processed a file."""
        self._imported.add((name, digest))

    def note_filed(self, places: Sequence[tuple[str, str]]) -> None:
        """Note where files ended, as `Feed.advance` does."""
        for intent_id, place in places:
            self._intents[intent_id].filed = place

    def summary(self, intent_id: str) -> Summary:
        """One intent as listings show it. Raises KeyError."""
        return self._summary(intent_id, self._intents[intent_id])

    def last_seq(self) -> int:
        """See `ports.Catalog`."""
        return len(self.entries)

    def state(self, intent_id: str) -> State:
        """See `ports.Catalog`."""
        intent = self._intents.get(intent_id)
        return intent.state if intent else State.NEW

    def body(self, intent_id: str) -> bytes:
        """See `ports.Catalog`."""
        body = self._intents[intent_id].body
        if body is None:
            raise KeyError(intent_id)
        return body

    def final_before(
        self, cutoff: datetime, states: Collection[State], limit: int
    ) -> Sequence[Summary]:
        """See `ports.Catalog`."""
        due = [
            self._summary(intent_id, intent)
            for intent_id, intent in self._intents.items()
            if intent.filed is not None
            and intent.state in states
            and intent.final_at is not None
            and intent.final_at < cutoff
            and not self._is_newest(intent_id, intent)
        ]
        return sorted(due, key=lambda summary: summary.final_at or BEGINNING)[:limit]

    def told_to_go(self) -> tuple[int, Sequence[Summary]]:
        """See `ports.Catalog`."""
        return 0, []

    def newest(self, target: Target) -> Known | None:
        """See `ports.Catalog`."""
        for intent_id, intent in reversed(self._intents.items()):
            if intent.first.target == target and intent.state not in _NEVER_RUN:
                receipt, seq = intent.receipt, intent.first.seq
                return Known(intent_id, receipt.name, receipt.digest, intent.state, seq=seq)
        return None

    def imported(self, name: bytes, digest: str) -> bool:
        """See `ports.Catalog`."""
        return (name, digest) in self._imported

    def unfinished(self) -> Sequence[Unfinished]:
        """See `ports.Catalog`."""
        return [
            replace(i.unfinished, state=i.state)
            for i in self._intents.values()
            if i.unfinished is not None and i.state not in FINAL
        ]

    def pauses(self) -> Sequence[Pause]:
        """See `ports.Catalog`."""
        in_force: dict[str, Pause] = {}
        for entry in self.entries:
            match entry.event:
                case Paused(by, why, target):
                    in_force[target] = Pause(target, by, why, entry.at)
                case Resumed(target=target):
                    in_force.pop(target, None)
        return [pause for _, pause in sorted(in_force.items())]

    def known_ids(self, ids: Collection[str]) -> set[str]:
        """See `ports.Catalog`."""
        return set(ids) & self._intents.keys()

    def history(self, intent_id: str) -> Sequence[Entry]:
        """See `ports.Catalog`."""
        return [entry for entry in self.entries if entry.intent_id == intent_id]

    def predecessor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""
        ids = self._with_verdict(name, also=intent_id)
        place = ids.index(intent_id)
        return ids[place - 1] if place else None

    def successor(self, name: bytes, intent_id: str) -> str | None:
        """See `ports.Catalog`."""
        ids = self._with_verdict(name, also=intent_id)
        return next(iter(ids[ids.index(intent_id) + 1 :]), None)

    def overtaken(self, intent_ids: Sequence[str]) -> set[str]:
        """See `ports.Catalog`."""
        names = {each: self._intents[each].receipt.name for each in intent_ids}
        return {each for each, name in names.items() if self.successor(name, each) is not None}

    def _with_verdict(self, name: bytes, also: str) -> list[str]:
        return [
            intent_id
            for intent_id, intent in self._intents.items()
            if intent_id == also
            or (intent.receipt.name == name and intent.state is not State.DUPLICATE)
        ]

    def _is_newest(self, intent_id: str, intent: _Intent) -> bool:
        target = intent.first.target
        newest = self.newest(target) if target else None
        return newest is not None and newest.intent_id == intent_id

    def _summary(self, intent_id: str, intent: _Intent) -> Summary:
        item, first, taken = intent.unfinished, intent.first, intent.receipt
        return Summary(
            intent_id=intent_id,
            seq=first.seq,
            name=taken.name,
            digest=taken.digest,
            size=taken.size,
            target=first.target or Target("", ""),
            priority=item.priority if item else 0,
            state=intent.state,
            received_at=taken.received_at,
            final_at=intent.final_at,
            runs=item.runs if item else 0,
            failures=item.failures if item else 0,
            crashes=item.crashes if item else 0,
            not_before=item.not_before if item else None,
            correlation_id=first.correlation_id,
            submitted_by=taken.submitted_by,
            retry_of=first.retry_of,
            filed=intent.filed,
        )

    def _evolved(self, intent_id: str, entry: Entry) -> Entry:
        event = entry.event
        assert isinstance(event, IntentEvent)
        if isinstance(event, Admitted | Rejected | Quarantined | Duplicated):
            intent = self._arrived(intent_id, entry, event)
        else:
            intent = self._intents[intent_id]
            intent.state = evolve(intent.state, event)
            intent.final_at = entry.at if intent.state in FINAL else None
            self._count(intent, event)
        first = intent.first
        return replace(first, seq=entry.seq, at=entry.at, event=event)

    def _arrived(
        self,
        intent_id: str,
        entry: Entry,
        event: Admitted | Rejected | Quarantined | Duplicated,
    ) -> _Intent:
        target = None
        if not isinstance(event, Quarantined) and event.target:
            target = Target(event.namespace, event.target)
        first = replace(
            entry,
            intent_id=intent_id,
            receipt=event.receipt,
            target=target,
            correlation_id="" if isinstance(event, Quarantined) else event.correlation_id,
            retry_of=event.retry_of if isinstance(event, Admitted) else None,
        )
        waiting = None
        if isinstance(event, Admitted):
            waiting = waiting_intent(intent_id, event, entry.seq)
        intent = _Intent(first, waiting, evolve(State.NEW, event), event.receipt)
        intent.final_at = entry.at if intent.state in FINAL else None
        self._intents[intent_id] = intent
        return intent

    def _count(self, intent: _Intent, event: IntentEvent) -> None:
        item = intent.unfinished
        assert item is not None
        not_before = event.not_before if isinstance(event, RetryScheduled | HandedBack) else None
        intent.unfinished = replace(
            item,
            runs=event.attempt if isinstance(event, Started) else item.runs,
            failures=item.failures + isinstance(event, RetryScheduled),
            crashes=item.crashes + (isinstance(event, HandedBack) and event.is_crash),
            not_before=not_before,
        )


_: type[Catalog] = CatalogInMemory
