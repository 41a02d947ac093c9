"""The contract of `ports.Notices`: told at once, journalled in order, bounded."""

from __future__ import annotations

import asyncio

import pytest

from conductor_loop.conductor.notices import NoticeBoard
from conductor_loop.core.events import Noticed
from conductor_loop.core.security_events import KINDS, Severity
from tests.fake_journal import FakeJournal, Memory
from tests.fakes import FakeClock, in_a_loop


def _journal() -> FakeJournal:
    return FakeJournal(Memory(), FakeClock())


def _noticed(journal: FakeJournal) -> list[Noticed]:
    return [e.event for e in journal.after(0, 10_000) if isinstance(e.event, Noticed)]


@in_a_loop
async def test_what_is_reported_becomes_an_event_of_the_journal() -> None:
    journal = _journal()
    board = NoticeBoard(journal)
    telling = asyncio.create_task(board.run())
    await asyncio.to_thread(board.report, "foreign_verdict", "status/x", by="eve", moved_to="y")
    await journal.committed(0)
    assert _noticed(journal) == [
        Noticed("foreign_verdict", Severity.HIGH, "status/x", {"moved_to": "y"}, "eve")
    ]
    telling.cancel()


@in_a_loop
async def test_a_code_that_nobody_declared_is_a_defect() -> None:
    with pytest.raises(KeyError):
        NoticeBoard(_journal()).report("made_up")


@in_a_loop
async def test_a_flood_is_bounded_and_says_how_much_was_lost() -> None:
    journal = _journal()
    board = NoticeBoard(journal)
    for _ in range(5000):
        board.report("control_refused")
    await board.flush()
    *kept, last = _noticed(journal)
    assert last.code == "notices_lost"
    assert len(kept) + int(last.subject) == 5000
    assert len(kept) < 5000


@in_a_loop
async def test_text_of_strangers_is_cut_and_escaped() -> None:
    journal = _journal()
    board = NoticeBoard(journal)
    board.report("foreign_verdict", "\x1b[2J" + "x" * 100_000, moved_to="a\nb")
    await board.flush()
    (event,) = _noticed(journal)
    assert event.subject.startswith("\\x1b[2J")
    assert len(event.subject) < 2000
    assert event.details == {"moved_to": "a\\nb"}


@in_a_loop
async def test_the_last_word_is_that_the_daemon_ended_in_order() -> None:
    journal = _journal()
    board = NoticeBoard(journal)
    board.report("daemon_started")
    await board.close()
    assert [event.code for event in _noticed(journal)] == ["daemon_started", "daemon_stopped"]


def test_every_code_says_what_it_means() -> None:
    assert all(meaning and isinstance(severity, Severity) for severity, meaning in KINDS.values())
