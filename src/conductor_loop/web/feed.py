"""What the page is told as it happens: one look at the journal a second serves every reader."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence

import apsw
import msgspec

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.events import Event, Failed, Quarantined, Rejected, TimedOut
from conductor_loop.core.faults import ConductorError, JournalDamaged
from conductor_loop.core.naming import shown
from conductor_loop.core.records import Entry, Summary
from conductor_loop.core.states import UNSUCCESSFUL, State
from conductor_loop.core.story import summary_json
from conductor_loop.web.board import Board
from conductor_loop.web.records import Records

_log = logging.getLogger("conductor_loop.http")
_SECONDS = 1.0
_MOST_ENTRIES = 2_000
_MOST_CHANGES = 300
_MOST_READERS = 50
# A reader that is so far behind is let go; its browser comes back and begins anew.
_MOST_UNREAD = 8
_REMEMBERED_FAILURES = 500
_SHOWN = 20
# Counting what waits opens every waiting row, so a long queue is counted less often.
_ROWS_A_SECOND = 2_000


class TooManyReaders(Exception):
    """Nobody else may listen now."""


class Feed:
    """Tells everybody who listens; rests while nobody does."""

    def __init__(self, board: Board, records: Records) -> None:
        self._board = board
        self._records = records
        self._readers: set[asyncio.Queue[bytes | None]] = set()
        self._running: asyncio.Task[None] | None = None
        self._failures: OrderedDict[str, tuple[str, str, str]] = OrderedDict()
        self._queue: Sequence[tuple[str, int]] = ()
        self._queue_age = 0.0

    async def listen(self) -> AsyncIterator[bytes]:
        """Server-sent events from now on. Raises TooManyReaders."""
        if len(self._readers) >= _MOST_READERS:
            raise TooManyReaders
        unread: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_UNREAD)
        self._readers.add(unread)
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        try:
            while (told := await unread.get()) is not None:
                yield told
        finally:
            self._readers.discard(unread)

    async def _run(self) -> None:
        """Tell until nobody listens."""
        seq = await self._begin()
        while self._readers:
            try:
                seq = await self._tell_changes(seq)
                await self._count_queue()
            except (ConductorError, apsw.Error) as error:
                _log.warning("the journal could not be read for the page: %s", error)
            self._tell("now", self._now())
            await asyncio.sleep(_SECONDS)

    async def _begin(self) -> int:
        self._failures.clear()
        self._queue_age = 0.0
        with contextlib.suppress(ConductorError, apsw.Error):
            seq, failed = await self._records.ask(_recent_failures)
            self._note_failures(failed)
            return seq
        return 0

    async def _tell_changes(self, seq: int) -> int:
        """Tell of the intents to which something happened; returns how far that went."""
        last, entries, changed = await self._records.ask(lambda reader: _changes(reader, seq))
        self._note_failures(entries)
        if changed:
            self._tell("intents", {"intents": changed, "missed": last - seq > _MOST_ENTRIES})
        return last

    async def _count_queue(self) -> None:
        waiting = self._board.vitals.waiting + len(self._board.vitals.running)
        self._queue_age += _SECONDS
        if waiting and self._queue_age * _ROWS_A_SECOND >= waiting:
            self._queue = await self._records.ask(_queue_by_target)
            self._queue_age = 0.0
        elif not waiting:
            self._queue = ()

    def _note_failures(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            cause = _cause(entry.event)
            if cause is not None and entry.intent_id is not None:
                name = shown(entry.receipt.name) if entry.receipt else ""
                self._failures[entry.intent_id] = (*cause, name)
        while len(self._failures) > _REMEMBERED_FAILURES:
            self._failures.popitem(last=False)

    def _now(self) -> dict[str, object]:
        vitals = self._board.vitals
        return {
            "vitals": msgspec.to_builtins(vitals),
            "live": self._board.liveness(),
            "oldest_seconds": self._board.oldest_seconds(),
            "minute": msgspec.to_builtins(self._board.history.last_minute(vitals)),
            "history": msgspec.to_builtins(self._board.history.samples()),
            "queue": self._queue,
            "causes": self._causes(),
        }

    def _causes(self) -> list[dict[str, object]]:
        counts = Counter(code for code, _, _ in self._failures.values())
        newest = {code: (i, message, n) for i, (code, message, n) in self._failures.items()}
        return [
            {
                "code": code,
                "count": count,
                "intent_id": newest[code][0],
                "message": newest[code][1],
                "intent_file": newest[code][2],
            }
            for code, count in counts.most_common(_SHOWN)
        ]

    def _tell(self, kind: str, document: object) -> None:
        told = b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(document))
        for unread in list(self._readers):
            if unread.full():
                self._readers.discard(unread)
                unread.get_nowait()
                unread.put_nowait(None)
            else:
                unread.put_nowait(told)


def _recent_failures(reader: JournalReader) -> tuple[int, list[Entry]]:
    seq = reader.last_seq()
    failed = reader.summaries(states=UNSUCCESSFUL, limit=_REMEMBERED_FAILURES)
    return seq, [last for each in reversed(failed) for last in _last_trusted(reader, each)]


def _last_trusted(reader: JournalReader, intent: Summary) -> Sequence[Entry]:
    """What happened to an intent last; nothing when it cannot be trusted, which others tell."""
    try:
        return reader.history(intent.intent_id)[-1:]
    except JournalDamaged:
        return ()


def _changes(
    reader: JournalReader, seq: int
) -> tuple[int, Sequence[Entry], list[dict[str, object]]]:
    """The last seq, the newest entries after `seq`, and the intents that they are about."""
    last = reader.last_seq()
    reached, entries, _ = reader.trusted_after(max(seq, last - _MOST_ENTRIES), _MOST_ENTRIES)
    newest = list(dict.fromkeys(e.intent_id for e in reversed(entries) if e.intent_id))
    found = (reader.summary(intent_id) for intent_id in newest[:_MOST_CHANGES])
    changed = [{**summary_json(each), "seq": each.seq} for each in found if each is not None]
    return max(reached, last), entries, changed


def _queue_by_target(reader: JournalReader) -> list[tuple[str, int]]:
    waiting = (each for each in reader.unfinished() if each.state is not State.RUNNING)
    counts = Counter(str(each.target) for each in waiting)
    return counts.most_common(_SHOWN)


def _cause(event: Event) -> tuple[str, str] | None:
    """Code and message of a failure that is final."""
    match event:
        case Failed(failure) | TimedOut(_, failure):
            return failure.code, failure.message
        case Rejected(faults=faults):
            return faults[0].code, faults[0].message
        case Quarantined(fault=fault):
            return fault.code, fault.message
        case _:
            return None
