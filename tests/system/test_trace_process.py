"""The process that exports traces, over a real journal: where it begins, and what it leaves out."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import apsw
import pytest

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.journal import open_journal
from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.adapters.sandbox.confinement import Confinement
from conductor_loop.adapters.trace_process import TraceProcess
from conductor_loop.core.events import Event, Noticed, Rejected
from conductor_loop.core.exporting import Exporting, Progress
from conductor_loop.core.faults import Fault
from conductor_loop.core.records import Record
from conductor_loop.core.security_events import Severity
from tests.fakes import in_a_loop, number_id, receipt_of
from tests.otlp_receiver import Receiver, receiving
from tests.system.daemon import PATIENCE

NOTHING: Event = Noticed("daemon_started", Severity.INFO)
MANY = 20_500
"""More entries than the exporter may be behind."""


def ended(number: int) -> Record:
    receipt = receipt_of(b"intent-%d.json" % number, b"{}")
    return Record(number_id(number), Rejected(receipt, (Fault("bad", "it is bad"),)))


async def journal_with(folder: Path, *records: Record) -> None:
    journal = open_journal(folder, SystemClock())
    await journal.record(records)
    await journal.close()


def task_at(folder: Path, position: int) -> Exporting:
    words = tuple(Confinement().words())
    return Exporting("test", str(folder), "", position, words, words)


async def export(
    folder: Path, receiver: Receiver, position: int, end: int = 0, **environment: str
) -> list[Progress]:
    """Run the process as a daemon does, until a trace was sent and it has come to an entry."""
    told: list[Progress] = []
    is_there = asyncio.Event()

    def note(progress: Progress) -> None:
        told.append(progress)
        if any(each.exported for each in told) and progress.position >= end:
            is_there.set()

    given = {**receiver.environment, **environment}
    running = asyncio.create_task(TraceProcess(task_at(folder, position), given, note).run())
    async with asyncio.timeout(PATIENCE):
        await is_there.wait()
    running.cancel()
    await asyncio.wait([running])
    return told


def change(folder: Path, statement: str) -> None:
    """Change the journal behind everybody's back."""
    connection = apsw.Connection(str(folder / FILE_NAME))
    connection.execute(statement)
    connection.close()


@in_a_loop
async def test_what_is_too_far_behind_is_counted_and_left_out(tmp_path: Path) -> None:
    filler = [Record(None, NOTHING)] * MANY
    await journal_with(tmp_path, ended(1), *filler, ended(2))
    with receiving() as receiver:
        told = await export(tmp_path, receiver, 0)
        assert sum(each.dropped for each in told) == 1
        assert not any(each.failing for each in told)
        (root, *_) = receiver.trace_of("intent-2.json")
        assert {each.trace_id for each in receiver.spans()} == {root.trace_id}


@in_a_loop
async def test_it_begins_behind_the_entry_that_it_is_told(tmp_path: Path) -> None:
    await journal_with(tmp_path, ended(1), ended(2), ended(3))
    with receiving() as receiver:
        told = await export(tmp_path, receiver, 2)
        assert told[-1].position == 3
        assert receiver.trace_of("intent-3.json")
        assert not receiver.spans(file__name="intent-2.json")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET event = zeroblob(40) WHERE seq = 2",
        "UPDATE intents SET facts = zeroblob(40) WHERE seq = 2",
        "UPDATE events SET at = at + 1 WHERE seq = 2",
        "INSERT INTO damaged (seq, why, at) VALUES (2, 'a test', 0)",
    ],
    ids=["event", "facts", "moment", "set aside"],
)
@in_a_loop
async def test_row_25_what_cannot_be_trusted_is_counted_and_passed_over(
    tmp_path: Path, statement: str
) -> None:
    await journal_with(tmp_path, ended(1), ended(2), ended(3))
    change(tmp_path, statement)
    with receiving() as receiver:
        told = await export(tmp_path, receiver, 0, end=3)
        assert {each.facts["file.name"] for each in receiver.spans() if not each.parent_id} == {
            "intent-1.json",
            "intent-3.json",
        }
    assert sum(each.damaged for each in told) == 1
    assert sum(each.exported for each in told) == 2
    assert sum(each.dropped for each in told) == 0


@in_a_loop
async def test_what_the_sampler_leaves_out_is_not_counted_as_sent(tmp_path: Path) -> None:
    count = 40
    await journal_with(tmp_path, *(ended(number) for number in range(1, count + 1)))
    sampler = {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    with receiving() as receiver:
        told = await export(tmp_path, receiver, 0, end=count, **sampler)
        arrived = {each.trace_id for each in receiver.spans()}
    # One in a million that all of them fall on one side.
    assert 0 < len(arrived) < count
    assert sum(each.exported for each in told) == len(arrived)
    assert sum(each.dropped for each in told) == 0


@in_a_loop
async def test_settings_that_opentelemetry_refuses_are_told_once_and_nothing_is_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await journal_with(tmp_path, ended(1))
    refused = {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}
    async with asyncio.timeout(PATIENCE):
        await TraceProcess(task_at(tmp_path, 0), refused, lambda _: None).run()
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "is not started again" in record.getMessage()
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in record.getMessage()
