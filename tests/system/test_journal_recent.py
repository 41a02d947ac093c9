"""What was just recorded is followed from memory, and is what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conductor_loop.adapters.journal import open_journal
from conductor_loop.adapters.journal.recent import Recent
from conductor_loop.core.events import HandedBack, Paused, Started
from conductor_loop.core.records import Entry, Record
from tests.fakes import BEGINNING, FakeClock, in_a_loop, number_id
from tests.fixtures.journals.make import admission, fill

PAUSE = Record(None, Paused("root"))


def entries_of(*records: Record) -> list[Entry | None]:
    recent = Recent()
    return [recent.entry(record, seq, BEGINNING) for seq, record in enumerate(records, 1)]


def seqs(entries: Sequence[Entry] | None) -> list[int] | None:
    return None if entries is None else [entry.seq for entry in entries]


def filled(*numbers: int) -> Recent:
    recent = Recent()
    recent.committed([recent.entry(PAUSE, seq, BEGINNING) for seq in numbers])
    return recent


@in_a_loop
async def test_every_entry_from_memory_is_the_one_in_the_file(tmp_path: Path) -> None:
    clock = FakeClock()
    journal = open_journal(tmp_path, clock)
    await fill(journal, clock)
    kept = journal.after(0, 1_000)
    assert kept == journal.reader.after(0, 1_000)
    assert len(kept) > 20
    assert journal.after(0, 1)[0] is kept[0]
    await journal.close()


@in_a_loop
async def test_what_an_earlier_process_admitted_is_read_from_the_file(tmp_path: Path) -> None:
    earlier = open_journal(tmp_path, FakeClock())
    await earlier.record([admission(1)])
    await earlier.close()
    journal = open_journal(tmp_path, FakeClock())
    await journal.record([admission(2), Record(number_id(1), Started(1)), admission(3)])
    assert seqs(journal.after(0, 10)) == [1, 2, 3, 4]
    assert seqs(journal.after(1, 10)) == [2, 3, 4]
    await journal.close()


def test_an_entry_of_an_intent_that_is_not_known_is_left_to_the_file() -> None:
    assert entries_of(Record(number_id(1), Started(1))) == [None]


def test_a_gap_is_left_to_the_file() -> None:
    recent = filled(1, 2)
    recent.committed([None])
    recent.committed([recent.entry(PAUSE, 4, BEGINNING)])
    assert recent.after(2, 10) is None
    assert seqs(recent.after(3, 10)) == [4]


def test_whoever_asks_again_for_what_is_done_with_is_sent_to_the_file() -> None:
    recent = filled(1, 2, 3)
    assert seqs(recent.after(2, 10)) == [3]
    assert recent.after(0, 10) is None


def test_no_more_are_given_than_asked_for() -> None:
    assert seqs(filled(1, 2, 3).after(0, 2)) == [1, 2]


def test_memory_is_bounded_when_nobody_follows() -> None:
    recent = filled(*range(1, 20_001))
    assert recent.after(0, 10) is None
    last = recent.after(19_999, 10)
    assert seqs(last) == [20_000]


@in_a_loop
async def test_bytes_from_memory_are_those_of_the_file_and_are_given_once(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, FakeClock())
    await journal.record([admission(1), admission(2)])
    first = await journal.lease([(number_id(1), 1)])
    assert list(first) == list(journal.reader.bodies([number_id(1)]))
    await journal.record([Record(number_id(1), HandedBack(1, "shutdown"))])

    again = await journal.lease([(number_id(2), 1), (number_id(1), 2)])

    assert list(again) == list(journal.reader.bodies([number_id(2), number_id(1)]))
    await journal.close()


def test_bytes_are_kept_only_as_far_as_there_is_room() -> None:
    recent = Recent()
    big = b"x" * 400_000
    for number in (1, 2, 3):
        recent.entry(Record(number_id(number), admission(number).event, big), number, BEGINNING)
    assert [recent.take_body(number_id(number)) for number in (1, 2, 3)] == [big, big, None]

    recent.entry(Record(number_id(4), admission(4).event, big), 4, BEGINNING)
    recent.ended(number_id(4))
    assert recent.take_body(number_id(4)) is None
