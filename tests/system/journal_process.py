"""A process of its own around a journal: `python -m tests.system.journal_process MODE FOLDER`.

It prints one line of JSON for each thing worth knowing.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from conductor_loop.adapters.clock import SystemClock
from conductor_loop.adapters.journal import SqliteJournal, open_journal, open_reader
from conductor_loop.core.events import Admitted
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Record
from tests.fakes import number_id, receipt_of

_BODY = b"x" * 20_000
_DEADLINE_SECONDS = 20


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def admission(number: int) -> Record:
    receipt = receipt_of(b"intent-%d.json" % number, _BODY)
    return Record(number_id(number), Admitted(receipt, *Target("ns", "a"), priority=5), _BODY)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 # no event tells of a disk
            await asyncio.sleep(0.01)


def fill(folder: Path) -> Path:
    """Use up all the room there is."""
    filler = folder / "filler"
    with open(filler, "ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


async def outlive_a_full_disk(folder: Path) -> None:
    """On a small file system: wait for room, go on; wait again, give up; open again."""
    journal = open_journal(folder, SystemClock())
    await journal.record([admission(1)])
    filler = fill(folder)
    waiting = asyncio.create_task(_record(journal, 2))
    await until(lambda: journal.lacks_room)
    tell(waits=not waiting.done(), committed=journal.reader.last_seq())
    filler.unlink()
    await waiting
    tell(went_on=not journal.lacks_room, committed=journal.reader.last_seq())
    filler = fill(folder)
    await _give_up(journal)
    filler.unlink()
    journal = open_journal(folder, SystemClock())
    (seq,) = await journal.record([admission(9)])
    tell(first_seq_afterwards=seq)
    await journal.close()


async def _give_up(journal: SqliteJournal) -> None:
    first = asyncio.create_task(_record(journal, 3))
    await until(lambda: journal.lacks_room)
    later = [asyncio.create_task(_record(journal, 4)), asyncio.create_task(journal.committed(99))]
    await asyncio.sleep(0)
    journal.abandon()
    async with asyncio.timeout(_DEADLINE_SECONDS):
        ends = await asyncio.gather(first, *later, return_exceptions=True)
        latest = await asyncio.gather(_record(journal, 5), return_exceptions=True)
        await journal.close()
    tell(gave_up=[type(end).__name__ for end in [*ends, *latest]])


async def meet_a_limit(folder: Path) -> None:
    """Write into files that may not grow: no lack of room, and nothing that waiting mends."""
    journal = open_journal(folder, SystemClock())
    await journal.record([admission(1)])
    size = (folder / "journal.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    tasks = [asyncio.create_task(_record(journal, number)) for number in (2, 3)]
    async with asyncio.timeout(_DEADLINE_SECONDS):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        later = await asyncio.gather(journal.advance(1), return_exceptions=True)
        await journal.close()
    tell(ends=[type(end).__name__ for end in [*ends, *later]], lacks_room=journal.lacks_room)


async def record_many(folder: Path) -> None:
    """Record one after the other; the caller may get in the way."""
    logging.basicConfig(level=logging.WARNING)
    journal = open_journal(folder, SystemClock())
    for number in range(1, 41):
        await _record(journal, number)
    tell(committed=journal.reader.last_seq())
    await journal.close()


async def record_and_wait_for_death(folder: Path) -> None:
    """Say what is committed, and never close."""
    journal = open_journal(folder, SystemClock())
    for number in range(1, 6):
        await _record(journal, number)
    tell(committed=journal.reader.last_seq())
    await asyncio.Event().wait()


async def read_when_asked(folder: Path) -> None:
    """For each line that comes in, tell what is committed now."""
    reader = open_reader(folder)
    for _ in sys.stdin:
        tell(committed=reader.last_seq(), events=len(reader.after(0, 1_000)))


async def _record(journal: SqliteJournal, number: int) -> None:
    await journal.record([admission(number)])


MODES = {
    "full": outlive_a_full_disk,
    "limit": meet_a_limit,
    "many": record_many,
    "die": record_and_wait_for_death,
    "read": read_when_asked,
}

if __name__ == "__main__":
    asyncio.run(MODES[sys.argv[1]](Path(sys.argv[2])))
