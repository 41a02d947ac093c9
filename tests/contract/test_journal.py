"""What every journal keeps: the one on disk and the fake, before and after opening it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from conductor_loop.adapters.journal import JournalReader, SqliteJournal, open_journal
from conductor_loop.core.events import (
    Admitted,
    BreakerClosed,
    BreakerOpened,
    Duplicated,
    Event,
    Failed,
    FailureKind,
    HandedBack,
    Noticed,
    Paused,
    Published,
    Quarantined,
    Rejected,
    Resumed,
    RetryScheduled,
    Run,
    Skipped,
    SkipReason,
    Started,
    Tidied,
    TimedOut,
)
from conductor_loop.core.faults import Fault, NoRoom
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Known, Record
from conductor_loop.core.security_events import Severity
from conductor_loop.core.states import IllegalTransition, State
from tests.fake_journal import FakeJournal, Memory
from tests.fakes import (
    BEGINNING,
    FakeClock,
    failure_of,
    in_a_loop,
    intent_bytes,
    number_id,
    receipt_of,
)

A, B = Target("ns", "a"), Target("ns", "b")
FAULT = Fault("made_up", "wrong on purpose")
RUN = Run(1, 0, BEGINNING, timedelta(seconds=2.5))
LATER = BEGINNING + timedelta(hours=1)


class Opened(NamedTuple):
    """An open journal: what writes, and what answers."""

    writer: SqliteJournal | FakeJournal
    reader: JournalReader | FakeJournal


class Shop(Protocol):
    """Opens one and the same journal again and again."""

    clock: FakeClock

    def open(self) -> AbstractAsyncContextManager[Opened]: ...


class SqliteShop:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self._folder = folder

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Opened]:
        journal = open_journal(self._folder, self.clock)
        try:
            yield Opened(journal, journal.reader)
        finally:
            await journal.close()


class FakeShop:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self._memory = Memory()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Opened]:
        journal = FakeJournal(self._memory, self.clock)
        yield Opened(journal, journal)


@pytest.fixture(params=["sqlite", "fake"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    return SqliteShop(tmp_path) if request.param == "sqlite" else FakeShop()


def name_of(number: int) -> bytes:
    return b"intent-%d.json" % number


def admitted(number: int, target: Target = A, name: bytes | None = None, **more: object) -> Record:
    body = intent_bytes(target, number)
    receipt = receipt_of(name or name_of(number), body)
    event = Admitted(receipt, *target, priority=5, **more)  # type: ignore[arg-type] # test sugar
    return Record(number_id(number), event, body)


def then(number: int, *events: Event) -> list[Record]:
    return [Record(number_id(number), event) for event in events]


def skipped() -> Skipped:
    return Skipped(SkipReason.CANCELLED, "operator", "no longer wanted")


def retry_scheduled() -> RetryScheduled:
    return RetryScheduled(RUN, failure_of(FailureKind.TEMPORARY), LATER)


def seqs(opened: Opened, after: int = 0, limit: int = 100) -> list[int]:
    return [entry.seq for entry in opened.reader.after(after, limit)]


def everything(opened: Opened) -> object:
    """All that can be asked, to compare before and after."""
    reader = opened.reader
    return (
        list(reader.after(0, 1_000)),
        list(reader.unfinished()),
        reader.counts(),
        list(reader.pauses()),
        reader.last_seq(),
        reader.position(),
        list(reader.parked()),
    )


# Order, all or nothing.


@in_a_loop
async def test_entries_come_back_in_the_order_of_recording(shop: Shop) -> None:
    async with shop.open() as opened:
        first = await opened.writer.record([admitted(1), admitted(2, B)])
        second = await opened.writer.record(then(2, Started(1)))

        entries = opened.reader.after(0, 100)

    assert [*first, *second] == [1, 2, 3]
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert [entry.intent_id for entry in entries] == [number_id(1), number_id(2), number_id(2)]
    assert entries[2].event == Started(1)


@in_a_loop
async def test_calls_made_at_the_same_time_keep_the_order_of_the_calls(shop: Shop) -> None:
    async with shop.open() as opened:
        numbers = range(1, 51)

        given = await asyncio.gather(*(opened.writer.record([admitted(n)]) for n in numbers))

        assert [seq for (seq,) in given] == list(numbers)
        assert [e.intent_id for e in opened.reader.after(0, 100)] == [number_id(n) for n in numbers]


@in_a_loop
async def test_an_entry_carries_the_facts_of_its_intent(shop: Shop) -> None:
    async with shop.open() as opened:
        record = admitted(1, B, correlation_id="c-1", retry_of=number_id(0))
        await opened.writer.record([record])
        shop.clock.advance(2.5)
        await opened.writer.record(then(1, Started(1)))

        first, second = opened.reader.after(0, 100)

    assert isinstance(record.event, Admitted)
    assert first.event == record.event
    assert first.at == BEGINNING
    assert second.at == BEGINNING + timedelta(seconds=2.5)
    assert second.receipt == record.event.receipt
    assert (second.target, second.correlation_id, second.retry_of) == (B, "c-1", number_id(0))


@in_a_loop
async def test_the_feed_starts_behind_a_seq_and_ends_at_the_limit(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(n) for n in range(1, 8)])

        assert seqs(opened, after=2, limit=3) == [3, 4, 5]
        assert seqs(opened, after=6) == [7]
        assert seqs(opened, after=7) == []


@pytest.mark.parametrize(
    "records",
    [
        [admitted(2), *then(3, Started(1))],
        [admitted(2), *then(2, Published(RUN))],
        [*then(1, Started(1), retry_scheduled(), Published(RUN))],
        [admitted(2), *then(1, Started(1)), admitted(1)],
        [Record(None, Paused("operator")), *then(4, skipped())],
    ],
    ids=["unknown id", "never started", "second of three", "known id", "behind a service event"],
)
@in_a_loop
async def test_an_illegal_transition_changes_nothing(shop: Shop, records: list[Record]) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1)])
        before = everything(opened)

        with pytest.raises(IllegalTransition):
            await opened.writer.record(records)

        assert everything(opened) == before
        assert list(await opened.writer.record(then(1, Started(1)))) == [2]


@pytest.mark.parametrize("event", [Started(2), Published(RUN), retry_scheduled(), skipped()])
@in_a_loop
async def test_nothing_follows_a_final_state(shop: Shop, event: Event) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), *then(1, Started(1), Published(RUN))])

        with pytest.raises(IllegalTransition):
            await opened.writer.record(then(1, event))

        assert opened.reader.state(number_id(1)) is State.PUBLISHED


@in_a_loop
async def test_recording_nothing_is_allowed(shop: Shop) -> None:
    async with shop.open() as opened:
        assert list(await opened.writer.record([])) == []
        assert opened.reader.last_seq() == 0


@in_a_loop
async def test_a_caller_that_is_cancelled_has_recorded_all_the_same(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1)])
        task = asyncio.create_task(_record(opened, then(1, Started(1))))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

        await opened.writer.record(then(1, HandedBack(1, "shutdown")))

        assert opened.reader.state(number_id(1)) is State.WAITING


async def _record(opened: Opened, records: list[Record]) -> None:
    await opened.writer.record(records)


# States, counts, bytes.

STORIES: list[tuple[State, list[Event]]] = [
    (State.WAITING, []),
    (State.RUNNING, [Started(1)]),
    (State.BACKING_OFF, [Started(1), retry_scheduled()]),
    (State.WAITING, [Started(1), HandedBack(1, "shutdown")]),
    (State.PUBLISHED, [Started(1), Published(RUN)]),
    (State.FAILED, [Started(1), Failed(failure_of(FailureKind.PERMANENT), RUN)]),
    (State.TIMED_OUT, [Started(1), TimedOut(RUN, failure_of(FailureKind.TIMEOUT))]),
    (State.SKIPPED, [skipped()]),
]


@pytest.mark.parametrize(("state", "story"), STORIES)
@in_a_loop
async def test_the_state_follows_from_the_events(
    shop: Shop, state: State, story: list[Event]
) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), *then(1, *story)])

        assert opened.reader.state(number_id(1)) is state
        assert opened.reader.counts() == {state: 1}
    async with shop.open() as opened:
        assert opened.reader.state(number_id(1)) is state


@in_a_loop
async def test_an_unknown_id_is_new(shop: Shop) -> None:
    async with shop.open() as opened:
        assert opened.reader.state(number_id(1)) is State.NEW
        assert opened.reader.history(number_id(1)) == []
        assert opened.reader.summary(number_id(1)) is None


@in_a_loop
async def test_refusals_are_final_at_once(shop: Shop) -> None:
    receipt = receipt_of(b"intent-x.json", b"{")
    async with shop.open() as opened:
        await opened.writer.record(
            [
                admitted(1),
                Record(number_id(2), Rejected(receipt, (FAULT,), "ns"), b"{"),
                Record(number_id(3), Quarantined(receipt, FAULT)),
                Record(number_id(4), Duplicated(receipt, *A, first=number_id(1)), b"{"),
            ]
        )

        states = [opened.reader.state(number_id(n)) for n in (2, 3, 4)]

        assert states == [State.REJECTED, State.QUARANTINED, State.DUPLICATE]
        assert [i.intent_id for i in opened.reader.unfinished()] == [number_id(1)]
        assert opened.reader.body(number_id(2)) == b"{"


@in_a_loop
async def test_runs_failures_and_crashes_are_counted_apart(shop: Shop) -> None:
    story: list[Event] = [
        *(Started(1), HandedBack(1, "daemon_ended")),
        *(Started(2), retry_scheduled()),
        *(Started(3), HandedBack(3, "environment", failure_of(FailureKind.ENVIRONMENT))),
        *(Started(4), HandedBack(4, "daemon_ended")),
    ]
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), *then(1, *story)])
    async with shop.open() as opened:
        (item,) = opened.reader.unfinished()

    assert (item.runs, item.failures, item.crashes) == (4, 1, 2)


@in_a_loop
async def test_unfinished_intents_come_in_journal_order_with_all_that_ordering_needs(
    shop: Shop,
) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(2, timeout=timedelta(seconds=90)), admitted(1, B)])
        await opened.writer.record([admitted(3), *then(1, Started(1), retry_scheduled())])
        await opened.writer.record(then(3, skipped()))
    async with shop.open() as opened:
        first, second = opened.reader.unfinished()

    assert (first.intent_id, first.seq, first.target) == (number_id(2), 1, A)
    assert (first.timeout, first.not_before) == (timedelta(seconds=90), None)
    assert (first.name, first.priority, first.received_at) == (name_of(2), 5, BEGINNING)
    assert first.size == len(intent_bytes(A, 2))
    assert (second.intent_id, second.seq, second.target) == (number_id(1), 2, B)
    assert (second.state, second.not_before) == (State.BACKING_OFF, LATER)


@in_a_loop
async def test_a_backoff_ends_with_the_next_start(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), *then(1, Started(1), retry_scheduled())])
        await opened.writer.record(then(1, Started(2), HandedBack(2, "shutdown")))

        (item,) = opened.reader.unfinished()

    assert item.not_before is None


@in_a_loop
async def test_a_lease_is_a_durable_start_and_returns_the_bytes(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), admitted(2, B)])

        leased = await opened.writer.lease([(number_id(2), 1), (number_id(1), 1)])

        assert list(leased) == [
            (number_id(2), intent_bytes(B, 2)),
            (number_id(1), intent_bytes(A, 1)),
        ]
    async with shop.open() as opened:
        assert [i.state for i in opened.reader.unfinished()] == [State.RUNNING] * 2
        assert opened.reader.history(number_id(2))[-1].event == Started(1)


@in_a_loop
async def test_a_lease_of_what_cannot_start_changes_nothing(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), admitted(2, B), *then(1, Started(1))])
        before = everything(opened)

        with pytest.raises(IllegalTransition):
            await opened.writer.lease([(number_id(2), 1), (number_id(1), 2)])

        assert everything(opened) == before


@pytest.mark.parametrize(
    ("story", "is_kept"),
    [
        ([], True),
        ([Started(1), retry_scheduled()], True),
        ([Started(1), Failed(failure_of(FailureKind.PERMANENT), RUN)], True),
        ([Started(1), TimedOut(RUN, failure_of(FailureKind.TIMEOUT))], True),
        ([skipped()], True),
        ([Started(1), Published(RUN)], False),
    ],
)
@in_a_loop
async def test_bytes_are_kept_as_long_as_they_may_run_again(
    shop: Shop, story: list[Event], is_kept: bool
) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), *then(1, *story)])

        if is_kept:
            assert opened.reader.body(number_id(1)) == intent_bytes(A, 1)
        else:
            with pytest.raises(KeyError):
                opened.reader.body(number_id(1))


@in_a_loop
async def test_a_crowd_that_goes_different_ways_at_once_is_kept_one_by_one(shop: Shop) -> None:
    crowd = range(1, 41)
    fates: list[list[Event]] = [
        [Started(1)],
        [Started(1), Published(RUN)],
        [Started(1), Failed(failure_of(FailureKind.PERMANENT), RUN)],
        [Started(1), retry_scheduled(), Started(2)],
        [skipped()],
    ]
    fate_of = {n: fates[n % len(fates)] for n in crowd}
    async with shop.open() as opened:
        await opened.writer.record([admitted(n, Target("ns", f"t{n}")) for n in crowd])
        await opened.writer.record([one for n in crowd for one in then(n, *fate_of[n])])
        places = [(number_id(n), "processed" if n % 2 else "failed") for n in crowd]
        await opened.writer.advance(1, filed=places)
    async with shop.open() as opened:
        for n in crowd:
            told = [entry.event for entry in opened.reader.history(number_id(n))]
            summary = opened.reader.summary(number_id(n))

            assert told[1:] == fate_of[n]
            assert summary is not None
            assert (summary.name, summary.filed) == (name_of(n), dict(places)[number_id(n)])
            assert summary.runs == sum(isinstance(event, Started) for event in fate_of[n])
        assert opened.reader.counts() == {
            State.RUNNING: 16,
            State.PUBLISHED: 8,
            State.FAILED: 8,
            State.SKIPPED: 8,
        }


# The feed's durable position.


@in_a_loop
async def test_a_waiter_wakes_when_something_is_committed(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1)])
        waiter = asyncio.create_task(opened.writer.committed(1))
        early = asyncio.create_task(opened.writer.committed(0))
        await early
        assert not waiter.done()

        await opened.writer.record([admitted(2)])
        await waiter

        assert seqs(opened, after=1) == [2]


@in_a_loop
async def test_position_and_places_are_kept(shop: Shop) -> None:
    async with shop.open() as opened:
        assert opened.reader.position() == 0
        await opened.writer.record([admitted(1), *then(1, Started(1), Published(RUN))])
        await opened.writer.advance(3, filed=[(number_id(1), "processed")])
    async with shop.open() as opened:
        summary = opened.reader.summary(number_id(1))

        assert opened.reader.position() == 3
        assert summary is not None
        assert summary.filed == "processed"


@in_a_loop
async def test_a_position_is_kept_no_later_than_with_the_next_commit(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1)])
        advancing = asyncio.create_task(opened.writer.advance(1))
        await asyncio.sleep(0)
        await opened.writer.record([admitted(2)])

        assert opened.reader.position() == 1
        await advancing


@in_a_loop
async def test_a_parked_entry_is_passed_and_kept_until_it_is_unparked(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(n) for n in range(1, 5)])
        for entry in reversed(opened.reader.after(0, 2)):
            await opened.writer.park(entry, "no such view")
    async with shop.open() as opened:
        parked = [(entry.seq, why) for entry, why in opened.reader.parked()]
        assert parked == [(1, "no such view"), (2, "no such view")]
        await opened.writer.unpark(1)
    async with shop.open() as opened:
        assert [entry.intent_id for entry, _ in opened.reader.parked()] == [number_id(2)]


@in_a_loop
async def test_parking_moves_the_position_to_the_entry(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), admitted(2)])
        await opened.writer.park(opened.reader.after(0, 1)[0], "no such view")
    async with shop.open() as opened:
        assert opened.reader.position() == 1


@in_a_loop
async def test_seqs_go_on_where_they_ended(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), admitted(2)])
    async with shop.open() as opened:
        assert list(await opened.writer.record([admitted(3)])) == [3]


# The catalog.


@in_a_loop
async def test_the_newest_admitted_intent_of_a_target_is_told_by_journal_order(shop: Shop) -> None:
    receipt = receipt_of(b"intent-bad.json", b"x")
    async with shop.open() as opened:
        await opened.writer.record(
            [
                admitted(7),
                admitted(3),
                admitted(9, B),
                Record(number_id(10), Rejected(receipt, (FAULT,), *A), b"x"),
                Record(number_id(11), Duplicated(receipt, *A, first=number_id(3))),
            ]
        )
        await opened.writer.record(then(3, Started(1), Published(RUN)))

        newest = opened.reader.newest(A)

        digest = receipt_of(b"", intent_bytes(A, 3)).digest
        assert newest == Known(number_id(3), name_of(3), digest, State.PUBLISHED, seq=2)
        assert opened.reader.newest(Target("ns", "c")) is None
        assert opened.reader.newest(Target("other", "a")) is None


@in_a_loop
async def test_known_ids_are_those_with_a_row_whatever_their_state(shop: Shop) -> None:
    async with shop.open() as opened:
        quarantined = Quarantined(receipt_of(b"intent-q.json", b""), FAULT)
        await opened.writer.record([admitted(1), Record(number_id(2), quarantined)])

        ids = [number_id(n) for n in (1, 2, 3)]

        assert opened.reader.known_ids(ids) == set(ids[:2])
        assert opened.reader.known_ids([]) == set()


@in_a_loop
async def test_history_is_one_intents_alone_and_oldest_first(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), admitted(2, B), *then(1, Started(1))])
        await opened.writer.record([*then(2, Started(1)), *then(1, Published(RUN))])

        history = opened.reader.history(number_id(1))

    assert [entry.seq for entry in history] == [1, 3, 5]
    assert [type(entry.event) for entry in history] == [Admitted, Started, Published]


@in_a_loop
async def test_names_have_predecessors_and_successors_that_duplicates_are_no_part_of(
    shop: Shop,
) -> None:
    name = b"intent-same.json"
    twin = Duplicated(receipt_of(name, b"x"), *A, first=number_id(1))
    bad = Rejected(receipt_of(name, b"y"), (FAULT,))
    async with shop.open() as opened:
        await opened.writer.record([admitted(1, name=name), Record(number_id(2), twin)])
        await opened.writer.record([admitted(3), Record(number_id(4), bad, b"y")])
        await opened.writer.record([admitted(5, B, name=name)])

        before = [opened.reader.predecessor(name, number_id(n)) for n in (1, 4, 5)]
        after = [opened.reader.successor(name, number_id(n)) for n in (1, 4, 5)]
        overtaken = opened.reader.overtaken([number_id(n) for n in (5, 3, 4, 1)])

    assert before == [None, number_id(1), number_id(4)]
    assert after == [number_id(4), number_id(5), None]
    assert overtaken == {number_id(1), number_id(4)}


@in_a_loop
async def test_what_was_retried_is_known(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1), admitted(2, retry_of=number_id(1))])

        again = opened.reader.retried_as(number_id(1))
        assert again is not None
        assert again.intent_id == number_id(2)
        assert opened.reader.retried_as(number_id(2)) is None


@in_a_loop
async def test_what_the_original_program_processed_is_known_by_name_and_digest(shop: Shop) -> None:
    async with shop.open() as opened:
        assert not opened.reader.imported(b"intent-a.json", "d1")
        await opened.writer.remember_imported([(b"intent-a.json", "d1", 1)], "state file")
        await opened.writer.remember_imported([(b"intent-a.json", "d1", 1)], "state file")

        assert opened.reader.imported(b"intent-a.json", "d1")
        assert not opened.reader.imported(b"intent-a.json", "d2")
        assert not opened.reader.imported(b"intent-b.json", "d1")


# Service events.


@in_a_loop
async def test_pauses_are_in_force_until_lifted_each_on_its_own(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record(
            [
                Record(None, Paused("ann", "upgrade", str(B))),
                Record(None, Paused("bob", "night")),
                Record(None, Paused("cyd", "quiet", str(A))),
            ]
        )
        await opened.writer.record([Record(None, Resumed("ann", "done", str(A)))])
    async with shop.open() as opened:
        pauses = opened.reader.pauses()

    assert [(pause.target, pause.by, pause.why) for pause in pauses] == [
        ("", "bob", "night"),
        (str(B), "ann", "upgrade"),
    ]
    assert pauses[0].at == BEGINNING


@in_a_loop
async def test_service_events_are_in_the_feed_and_belong_to_no_intent(shop: Shop) -> None:
    opening = BreakerOpened(failure_of(FailureKind.ENVIRONMENT))
    closing = BreakerClosed(timedelta(seconds=3))
    async with shop.open() as opened:
        await opened.writer.record([Record(None, opening), Record(None, closing)])

        entries = opened.reader.after(0, 10)

    assert [entry.event for entry in entries] == [opening, closing]
    assert [(e.intent_id, e.receipt, e.target) for e in entries] == [(None, None, None)] * 2


# Retention.


async def _finish(opened: Opened, number: int, target: Target = A, filed: bool = True) -> None:
    (*_, last) = await opened.writer.record(
        [admitted(number, target), *then(number, Started(1), Published(RUN))]
    )
    places = [(number_id(number), "processed")] if filed else []
    await opened.writer.advance(last, filed=places)


def _forgettable(opened: Opened, shop: Shop, *states: State, limit: int = 10) -> list[str]:
    wanted = states or (State.PUBLISHED, State.REJECTED)
    found = opened.reader.final_before(shop.clock.now(), wanted, limit)
    return [summary.intent_id for summary in found]


@in_a_loop
async def test_what_is_old_enough_may_be_forgotten_oldest_first(shop: Shop) -> None:
    async with shop.open() as opened:
        for number in (3, 1, 2):
            await _finish(opened, number)
            shop.clock.advance(10)

        ids = [number_id(n) for n in (3, 1, 2)]

        assert _forgettable(opened, shop) == ids
        assert _forgettable(opened, shop, limit=2) == ids[:2]
        assert _forgettable(opened, shop, State.FAILED) == []
        young = opened.reader.final_before(BEGINNING, [State.PUBLISHED], 10)
        assert list(young) == []


@in_a_loop
async def test_of_the_newest_admitted_intent_of_a_target_a_bare_row_stays(shop: Shop) -> None:
    async with shop.open() as opened:
        await _finish(opened, 1, A)
        await _finish(opened, 2, B)
        await _finish(opened, 3, A)
        bad = Rejected(receipt_of(b"intent-bad.json", b"x"), (FAULT,), *B)
        (last,) = await opened.writer.record([Record(number_id(4), bad, b"x")])
        await opened.writer.advance(last, filed=[(number_id(4), "failed")])
        shop.clock.advance(10)

        ids = [number_id(n) for n in (1, 2, 3, 4)]
        assert _forgettable(opened, shop) == ids
        await opened.writer.forget(ids, told_by=0)

        known = [opened.reader.newest(target) for target in (A, B)]
        assert [one and one.intent_id for one in known] == [number_id(3), number_id(2)]
        assert all(one and one.is_gone for one in known)
        assert opened.reader.known_ids(ids) == {number_id(2), number_id(3)}
        assert opened.reader.history(number_id(3)) == []
        assert _forgettable(opened, shop) == []


@in_a_loop
async def test_a_bare_row_goes_once_a_newer_intent_of_its_target_is_admitted(shop: Shop) -> None:
    async with shop.open() as opened:
        await _finish(opened, 1)
        shop.clock.advance(10)
        await opened.writer.forget([number_id(1)], told_by=0)
        await _finish(opened, 2)

        assert _forgettable(opened, shop) == [number_id(1)]
        await opened.writer.forget([number_id(1)], told_by=0)
        assert opened.reader.known_ids([number_id(1)]) == set()


@in_a_loop
async def test_what_is_not_filed_yet_is_kept(shop: Shop) -> None:
    async with shop.open() as opened:
        await _finish(opened, 1, filed=False)
        await _finish(opened, 2)
        await _finish(opened, 3)
        shop.clock.advance(10)

        assert _forgettable(opened, shop) == [number_id(2), number_id(3)]


@in_a_loop
async def test_what_is_forgotten_leaves_no_trace_and_its_seqs_are_never_given_again(
    shop: Shop,
) -> None:
    async with shop.open() as opened:
        await _finish(opened, 1)
        await _finish(opened, 2)
        await opened.writer.forget([number_id(1), number_id(2)], told_by=0)
    async with shop.open() as opened:
        assert seqs(opened) == []
        assert opened.reader.counts() == {State.PUBLISHED: 1}
        assert opened.reader.known_ids([number_id(1)]) == set()
        assert opened.reader.last_seq() == 6
        assert list(await opened.writer.record([admitted(3)])) == [7]


@in_a_loop
async def test_what_told_of_tidying_keeps_its_ids_until_every_view_has_applied_it(
    shop: Shop,
) -> None:
    first, second, third = (Tidied((number_id(n),)) for n in (1, 2, 3))
    noticed = Noticed("pressure_over", Severity.INFO)
    async with shop.open() as opened:
        (seq,) = await opened.writer.record([Record(None, first)])
        await opened.writer.forget([], told_by=seq)
        (seq,) = await opened.writer.record([Record(None, second)])
        await opened.writer.forget([], told_by=seq)
        assert _events(opened) == [first, second]

        await opened.writer.advance(1)
        (parked,) = opened.reader.after(1, 1)
        await opened.writer.park(parked, "no room")
        (seq, other) = await opened.writer.record([Record(None, third), Record(None, noticed)])
        await opened.writer.forget([], told_by=seq)
        assert _events(opened) == [Tidied(()), second, third, noticed]
    async with shop.open() as opened:
        await opened.writer.advance(other)
        await opened.writer.unpark(2)
        # Whatever else is named keeps what it says.
        await opened.writer.forget([], told_by=other)
        assert _events(opened) == [Tidied(()), Tidied(()), Tidied(()), noticed]
    async with shop.open() as opened:
        assert _events(opened) == [Tidied(()), Tidied(()), Tidied(()), noticed]


@in_a_loop
async def test_what_is_told_to_go_is_known_until_it_is_forgotten(shop: Shop) -> None:
    ids = [number_id(n) for n in (1, 2, 3)]
    async with shop.open() as opened:
        await _finish(opened, 1)
        await _finish(opened, 2)
        await _finish(opened, 3, filed=False)
        assert opened.reader.told_to_go() == (0, [])
        (seq,) = await opened.writer.record([Record(None, Tidied(tuple(ids)))])
    async with shop.open() as opened:
        found, summaries = opened.reader.told_to_go()
        assert (found, [each.intent_id for each in summaries]) == (seq, ids[:2])
        await opened.writer.forget([], told_by=seq + 1)
        assert opened.reader.told_to_go()[0] == seq
        await opened.writer.forget(ids[:2], told_by=seq)
        assert opened.reader.told_to_go() == (0, [])


def _events(opened: Opened) -> list[Event]:
    return [entry.event for entry in opened.reader.after(0, 100)]


@in_a_loop
async def test_a_waiter_of_an_earlier_commit_is_not_woken_by_writes_without_entries(
    shop: Shop,
) -> None:
    async with shop.open() as opened:
        await _finish(opened, 1)
        waiter = asyncio.create_task(opened.writer.committed(opened.reader.last_seq()))

        await opened.writer.advance(3)
        await opened.writer.unpark(1)

        assert not waiter.done()
        waiter.cancel()


# Giving up.


@in_a_loop
async def test_a_journal_with_room_says_so(shop: Shop) -> None:
    async with shop.open() as opened:
        await opened.writer.record([admitted(1)])

        assert not opened.writer.lacks_room


@in_a_loop
async def test_a_journal_that_need_not_wait_for_room_goes_on_with_it(shop: Shop) -> None:
    async with shop.open() as opened:
        opened.writer.abandon()

        assert list(await opened.writer.record([admitted(1)])) == [1]


@in_a_loop
async def test_the_fake_waits_for_room_and_gives_up_when_told() -> None:
    journal = FakeJournal(Memory(), FakeClock())
    journal.fill()
    waiting = asyncio.create_task(journal.advance(1))
    await asyncio.sleep(0)
    assert journal.lacks_room
    journal.make_room()
    await waiting

    journal.fill()
    ends = [asyncio.create_task(journal.advance(2)), asyncio.create_task(journal.committed(0))]
    await asyncio.sleep(0)
    journal.abandon()
    await asyncio.wait(ends)
    journal.make_room()

    assert [type(end.exception()) for end in ends] == [NoRoom, NoRoom]
    with pytest.raises(NoRoom):
        await journal.advance(3)
    assert journal.position() == 1
