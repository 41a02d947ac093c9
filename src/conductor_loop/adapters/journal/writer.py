"""The only writer: groups whatever is asked at the same time into one synced transaction."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import apsw
import msgspec

from conductor_loop.adapters.journal.commits import Request, gather, transaction
from conductor_loop.adapters.journal.custody import Custody, begin_sealed, take_custody
from conductor_loop.adapters.journal.data_keys import Sealing
from conductor_loop.adapters.journal.database import (
    FILE_NAME,
    from_microseconds,
    open_for_reading,
    open_for_writing,
    to_microseconds,
)
from conductor_loop.adapters.journal.first_look import discarded_notice, set_aside_notice
from conductor_loop.adapters.journal.opening import UNREADABLE, unreadable
from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.adapters.journal.recent import Recent
from conductor_loop.adapters.journal.rows import (
    LiveIntent,
    Statements,
    add_record,
    file_key,
    filed_rows,
    live_intents,
)
from conductor_loop.adapters.journal.sealing import keyed_place, parked_place
from conductor_loop.adapters.journal.side_rows import (
    IMPORT,
    PARK,
    SET_ASIDE,
    SET_FACT,
    UNPARK,
    Bindings,
    Change,
)
from conductor_loop.core.events import Started
from conductor_loop.core.faults import ConductorError, DurabilityLost, JournalDamaged, NoRoom
from conductor_loop.core.records import Entry, Record
from conductor_loop.core.states import FINAL
from conductor_loop.ports import Clock

_log = logging.getLogger("conductor_loop.journal")
_WAIT_FOR_ROOM_SECONDS = 0.25
# What apsw raises for values that no column can hold: a defect, but callers must not wait for ever.
_SURPRISES = (ValueError, TypeError, OverflowError)

_ADVANCE = "UPDATE relay SET seq = ?"


class SqliteJournal:
    """`ports.Journal` and `ports.Feed`; `reader` is the `ports.Catalog`."""

    def __init__(
        self,
        connection: apsw.Connection,
        reader: JournalReader,
        clock: Clock,
        custody: Custody,
    ) -> None:
        self.reader = reader
        self._connection = connection
        self._clock = clock
        self._custody = custody
        self._sealer = custody.sealer
        self.is_incomplete = False
        """Whether rows were found to be missing while this process runs."""
        self._loop = asyncio.get_running_loop()
        reader.look_for_imported()
        self._live = live_intents(connection)
        self._last_seq = self._committed_seq = reader.last_seq()
        self._recent = Recent()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.asked = self.done = 0
        """How many writes were asked for, and how many of them are committed."""
        self._failed: ConductorError | None = None
        self._lacks_room = False
        self._abandoned = threading.Event()
        self._requests: SimpleQueue[Request | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, state_dir: Path, clock: Clock, sealing: Sealing, *, is_copy: bool) -> Self:
        """See `open_journal`."""
        path, at = state_dir / FILE_NAME, to_microseconds(clock.now())
        connection = open_for_writing(
            path, lambda new: begin_sealed(new, state_dir, sealing, at), is_copy=is_copy
        )
        try:
            custody = take_custody(connection, state_dir, sealing, at, is_copy=is_copy)
            reader = JournalReader(open_for_reading(path), custody.sealer)
            return cls(connection, reader, clock, custody)
        except UNREADABLE as error:
            connection.close()
            raise unreadable(error) from error
        except BaseException:
            connection.close()
            raise

    @property
    def lacks_room(self) -> bool:
        """See `ports.Journal`."""
        return self._lacks_room

    @property
    def committed_seq(self) -> int:
        """The highest seq that is committed."""
        return self._committed_seq

    def abandon(self) -> None:
        """See `ports.Journal`."""
        self._abandoned.set()

    async def record(self, records: Sequence[Record]) -> Sequence[int]:
        """See `ports.Journal`."""
        return await self._record(records, Statements(self._sealer))

    async def _record(self, records: Sequence[Record], statements: Statements) -> Sequence[int]:
        """Record, in one transaction with what `statements` have already."""
        at = to_microseconds(self._clock.now())
        changed: dict[str, LiveIntent] = {}
        seq = self._last_seq
        for seq, record in enumerate(records, self._last_seq + 1):
            key = record.intent_id or ""
            live = add_record(statements, record, changed.get(key) or self._live.get(key), seq, at)
            if live is not None:
                changed[key] = live
        first, self._last_seq = self._last_seq + 1, seq
        # Nothing takes this back: a commit succeeds in the end, or the daemon stops.
        moment = from_microseconds(at)
        entries = [self._recent.entry(each, n, moment) for n, each in enumerate(records, first)]
        for key, live in changed.items():
            if live.state in FINAL:
                self._live.pop(key, None)
                self._recent.ended(key)
            else:
                self._live[key] = live
        await self._commit(statements, entries)
        return range(first, seq + 1)

    async def lease(self, starts: Sequence[tuple[str, int]]) -> Sequence[tuple[str, bytes]]:
        """See `ports.Journal`."""
        await self.record([Record(intent_id, Started(attempt)) for intent_id, attempt in starts])
        kept = {intent_id: self._recent.take_body(intent_id) for intent_id, _ in starts}
        read = dict(self.reader.bodies([each for each, body in kept.items() if body is None]))
        return [(each, read[each] if body is None else body) for each, body in kept.items()]

    def position(self) -> int:
        """See `ports.Feed`."""
        return self.reader.position()

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `ports.Feed`."""
        recent = self._recent.after(seq, limit)
        return self.reader.after(seq, limit) if recent is None else recent

    def parked(self) -> Sequence[tuple[Entry, str]]:
        """See `ports.Feed`."""
        return self.reader.parked()

    async def committed(self, seq: int) -> None:
        """See `ports.Feed`."""
        if self._committed_seq > seq:
            return
        if self._failed is not None:
            raise self._failed
        waiter = self._loop.create_future()
        self._waiters.append((seq, waiter))
        await waiter

    async def advance(self, seq: int, *, filed: Sequence[tuple[str, str]] = ()) -> None:
        """See `ports.Feed`."""
        statements = Statements(self._sealer, filed=filed_rows(filed), others=[(_ADVANCE, (seq,))])
        await self._commit(statements, can_wait=True)

    async def skip_to(self, seq: int) -> None:
        """Give no number up to this one to any entry: they were others' once."""
        self._last_seq = max(self._last_seq, seq)
        await self.advance(self._last_seq)

    async def park(self, entry: Entry, why: str) -> None:
        """See `ports.Feed`."""
        sealed = self._sealer.seal(parked_place(entry.seq), why.encode())
        await self._write((PARK, (entry.seq, sealed)), (_ADVANCE, (entry.seq,)))

    async def unpark(self, seq: int, *, filed: Sequence[tuple[str, str]] = ()) -> None:
        """See `ports.Feed`."""
        await self._commit(
            Statements(self._sealer, filed=filed_rows(filed), others=[(UNPARK, (seq,))])
        )

    async def remember_imported(self, rows: Sequence[tuple[bytes, str, int]], source: str) -> None:
        """Keep (name, digest, microseconds) of what the original program had processed."""
        await self._write(
            *((IMPORT, self._imported(*row)) for row in rows), (SET_FACT, ("imported", source))
        )
        self.reader.look_for_imported()

    async def remember(self, fact: str, value: str) -> None:
        """Keep a small fact about this journal; `reader.fact` gives it back."""
        await self._write((SET_FACT, (fact, value)))

    def _imported(self, name: bytes, digest: str, at: int) -> tuple[bytes, bytes, int]:
        key = file_key(self._sealer, name, digest)
        told = msgspec.msgpack.encode((name, digest))
        return key, self._sealer.seal(keyed_place(b"imported.file", key), told), at

    async def forget(self, intent_ids: Sequence[str], told_by: int) -> None:
        """See `ports.Journal`; of the newest admitted of a target the bare row stays."""
        statements = Statements(self._sealer, forgets=list(intent_ids), told_by=[told_by])
        await self._commit(statements)

    async def look_at(self, after: int) -> int:
        """See `ports.Scrubber`."""
        seq, faults = self.reader.faults_after(after)
        at = to_microseconds(self._clock.now())
        # Of an unfinished one this process knows better than the file.
        faults = [fault for fault in faults if fault[1] not in self._live]
        if faults:
            rows: list[tuple[str, Bindings]] = [
                (SET_ASIDE, (each, why, at)) for each, _, why in faults
            ]
            notices = [Record(None, set_aside_notice(whose, why)) for _, whose, why in faults]
            await self._record(notices, Statements(self._sealer, others=rows))
        for _, intent_id, why in faults:
            _log.error("set aside, it cannot be trusted: %s: %s", intent_id, why)
        if not seq:
            await self._recount()
        return seq

    async def _recount(self) -> None:
        missing = await asyncio.to_thread(self._custody.recount)
        if missing:
            self.is_incomplete = True
            _log.error("the journal is not whole: %s; restore a backup", missing)

    async def discard(self, names: Sequence[str], by: str) -> Sequence[str]:
        """Drop everything about what was set aside under these names, and say who did.

        Others stay. Returns the names of what was dropped.
        """
        found = [each for each in self.reader.damaged() if each.name in names]
        notices = [Record(None, discarded_notice(each, by)) for each in found]
        if found:
            dropped = Statements(self._sealer, discards=[each.seq for each in found])
            await self._record(notices, dropped)
        return [each.name for each in found]

    async def close(self) -> None:
        """Commit what waits if there is room, end the thread, close the file."""
        self.abandon()
        self._requests.put(None)
        await asyncio.to_thread(self._thread.join)
        self.reader.close()
        self._connection.close()
        self._custody.close()

    async def _write(self, *statements: tuple[str, tuple[apsw.SQLiteValue, ...]]) -> None:
        await self._commit(Statements(self._sealer, others=list(statements)))

    async def _commit(
        self,
        statements: Statements,
        entries: Sequence[Entry | None] = (),
        *,
        can_wait: bool = False,
    ) -> None:
        if self._failed is not None:
            raise self._failed
        done = self._loop.create_future()
        request = Request(statements, done, self._last_seq, entries, can_wait)
        self._requests.put(request)
        self.asked += 1
        # A cancelled caller must not leave the in-memory state ahead of a commit that never runs:
        # the request is on its way whatever happens to the caller.
        await asyncio.shield(request.done)

    # What follows runs on the journal's own thread.

    def _serve(self) -> None:
        while (first := self._requests.get()) is not None:
            batch, ended = gather(first, self._requests)
            failure = self._commit_or_tell(batch)
            self._call_loop(batch, failure)
            if ended or failure is not None:
                return

    def _commit_or_tell(self, batch: list[Request]) -> ConductorError | None:
        try:
            return self._commit_batch(batch)
        except Exception as error:  # noqa: BLE001 - logged, and told to every caller
            # The one place for surprises of this thread: callers must not wait for ever.
            _log.exception("the journal's thread failed unexpectedly")
            return DurabilityLost(
                f"the journal's thread failed unexpectedly: {error}",
                hint="start again: what was committed is safe; the log has the trace, report it",
            )

    def _commit_batch(self, batch: list[Request]) -> ConductorError | None:
        while True:
            try:
                self._custody.change_key_when_due(to_microseconds(self._clock.now()))
                with transaction(self._connection):
                    change = Change()
                    for request in batch:
                        request.statements.execute(self._connection, change)
                    count = self._custody.count(self._connection, change)
            except JournalDamaged as error:
                return error
            except (apsw.Error, *_SURPRISES) as error:
                if not self._is_lack_of_room(error):
                    return DurabilityLost(
                        f"the journal could not be written: {error}",
                        hint="check the disk (dmesg), then start again: what was committed is safe",
                    )
                if not self._await_room():
                    return NoRoom("the journal could not be written: no room on the disk")
            else:
                # Never inside the try: what is committed must not be written again.
                self._custody.settle(count)
                self._lacks_room = False
                return None

    def _is_lack_of_room(self, error: Exception) -> bool:
        if isinstance(error, apsw.FullError):
            return True
        # SQLite tells a full disk apart, but not a used-up quota.
        return isinstance(error, apsw.IOError) and self._connection.system_errno == errno.EDQUOT

    def _await_room(self) -> bool:
        """Wait a little; False when waiting was given up."""
        if not self._lacks_room:
            _log.error("no room for the journal: waiting; nothing new starts until there is")
        self._lacks_room = True
        return not self._abandoned.wait(_WAIT_FOR_ROOM_SECONDS)

    def _call_loop(self, batch: list[Request], failure: ConductorError | None) -> None:
        self._loop.call_soon_threadsafe(self._announce, batch, failure)

    # Back on the loop.

    def _announce(self, batch: list[Request], failure: ConductorError | None) -> None:
        if failure is not None:
            self._fail(batch, failure)
            return
        self.done += len(batch)
        for request in batch:
            request.done.set_result(None)
            self._recent.committed(request.entries)
            self._committed_seq = max(self._committed_seq, request.last_seq)
        self._wake_waiters()

    def _fail(self, batch: list[Request], failure: ConductorError) -> None:
        """The thread has ended: nobody may wait for it any more."""
        self._failed = failure
        while not self._requests.empty():
            late = self._requests.get_nowait()
            batch += [late] if late is not None else []
        for request in batch:
            request.done.set_exception(failure)
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(failure)
        self._waiters.clear()

    def _wake_waiters(self) -> None:
        still = []
        for seq, waiter in self._waiters:
            if waiter.done():
                continue
            if self._committed_seq > seq:
                waiter.set_result(None)
            else:
                still.append((seq, waiter))
        self._waiters = still


def open_journal(
    state_dir: Path, clock: Clock, sealing: Sealing | None = None, *, is_copy: bool = False
) -> SqliteJournal:
    """Open the journal of a state dir as its only writer; the caller holds the lock.

    With `is_copy` it was just put here, and nobody misses the anchor that its commits will make.
    Raises CannotStart.
    """
    return SqliteJournal.open(state_dir, clock, sealing or Sealing(), is_copy=is_copy)
