"""The process that exports traces, over a real journal: where it begins, and what it leaves out."""

from __future__ import annotations

import asyncio
from pathlib import Path

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.journal import open_journal
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


async def export(folder: Path, receiver: Receiver, position: int) -> list[Progress]:
    """Run the process as a daemon does, until it has told of a trace that was sent."""
    words = tuple(Confinement().words())
    task = Exporting("test", str(folder), "", position, words, words)
    told: list[Progress] = []
    is_sent = asyncio.Event()

    def note(progress: Progress) -> None:
        told.append(progress)
        if progress.exported:
            is_sent.set()

    running = asyncio.create_task(TraceProcess(task, receiver.environment, note).run())
    async with asyncio.timeout(PATIENCE):
        await is_sent.wait()
    running.cancel()
    await asyncio.wait([running])
    return told


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
