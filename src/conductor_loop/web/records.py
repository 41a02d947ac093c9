"""What the page and the metrics ask of the journal, read-only, off the event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from conductor_loop.adapters.journal.database import FILE_NAME
from conductor_loop.adapters.journal.effective_access import ask_for_effective_rights
from conductor_loop.adapters.journal.reader import JournalReader, open_reader
from conductor_loop.core.faults import CannotStart, ConductorError
from conductor_loop.core.states import State
from conductor_loop.core.vitals import Serving

T = TypeVar("T")
_log = logging.getLogger("conductor_loop.http")
_COUNT_SECONDS = 10.0
"""A count looks at every row of the journal's index, so it is not made for each scrape."""


class Records:
    """One reader and one thread for it; a question waits for the one before."""

    def __init__(self, serving: Serving) -> None:
        self.rows: dict[State, int] = {}
        """How many intents stand in each state, as of the last count."""
        self._state_dir = Path(serving.state_dir)
        self._kek_file = Path(serving.kek_file) if serving.kek_file else None
        self._thread = ThreadPoolExecutor(1, "journal")
        self._reader: JournalReader | None = None
        self._counting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the journal, from now on the only one that can be. Raises CannotStart."""
        loop = asyncio.get_running_loop()
        ask_for_effective_rights()
        self._reader = await loop.run_in_executor(
            self._thread, open_reader, self._state_dir, self._kek_file
        )
        self._counting = asyncio.create_task(self._count())

    async def ask(self, question: Callable[[JournalReader], T]) -> T:
        """Have a question answered. Raises CannotStart when the journal cannot be read now."""
        reader = self._reader
        if reader is None:
            raise CannotStart("the journal is not open yet", hint="ask again soon")
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, reader)

    def size_bytes(self) -> int:
        """How much the journal takes on the disk."""
        total = 0
        for end in ("", "-wal"):
            try:
                total += os.stat(self._state_dir / f"{FILE_NAME}{end}").st_size
            except OSError:
                continue
        return total

    async def _count(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self.rows = await self.ask(JournalReader.counts)
            except (ConductorError, apsw.Error) as error:
                _log.warning("the journal could not be counted: %s", error)
            # A large journal is counted less often: a tenth of the time at most.
            await asyncio.sleep(max(_COUNT_SECONDS, 10 * (time.monotonic() - began)))
