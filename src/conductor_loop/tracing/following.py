"""Following the journal: whatever has ended is sent. The journal is the queue, nothing else is."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.exporting import Progress, encode
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.records import Entry
from conductor_loop.core.states import ENDINGS
from conductor_loop.core.traces import Trace, trace_of

if TYPE_CHECKING:
    from conductor_loop.tracing.sending import Kept, Sender

_BATCH = 256
_MOST_BEHIND = 20_000
"""Entries of the journal; what is further behind is counted and left out."""
_TRIES = 4
"""The exporter itself tries for OTEL_EXPORTER_OTLP_TIMEOUT (10 s) each time."""
_LOOK_SECONDS, _RETRY_SECONDS = 0.5, 2.0


class Following:
    """One reader of the journal, from a position on, until the daemon closes its end."""

    def __init__(
        self, link: socket.socket, reader: JournalReader, sender: Sender, position: int
    ) -> None:
        self._link = link
        self._reader = reader
        self._sender = sender
        self._position = position

    def run(self) -> None:
        """Send for as long as there is a daemon; what is there at its end is sent once."""
        while True:
            if self._step():
                continue
            if self._has_ended(_LOOK_SECONDS):
                while self._step():
                    pass
                return

    def _step(self) -> bool:
        """Take the next entries; whether there were any."""
        last, entries, damaged = self._reader.trusted_after(self._position, _BATCH)
        if last == self._position:
            return False
        ended = [entry for entry in entries if type(entry.event) in ENDINGS]
        if self._is_far_behind():
            told = Progress(last, dropped=len(ended), damaged=damaged)
        else:
            told = self._export(last, ended, damaged)
        self._position = last
        if ended or damaged:
            self._tell(replace(told, failing=self._sender.failing))
        return True

    def _is_far_behind(self) -> bool:
        return self._reader.last_seq() - self._position > _MOST_BEHIND

    def _export(self, last: int, ended: Sequence[Entry], damaged: int) -> Progress:
        """Send what has ended and can be trusted; how it went, up to a seq."""
        traces, untold = self._traces(ended)
        kept, damaged = self._sender.kept(traces), damaged + untold
        if not kept.spans or self._send(kept):
            return Progress(last, exported=kept.count, damaged=damaged)
        return Progress(last, dropped=kept.count, damaged=damaged)

    def _traces(self, ended: Sequence[Entry]) -> tuple[Sequence[Trace], int]:
        """What is told of them, and how many have a part that cannot be trusted."""
        traces, damaged = [], 0
        for entry in ended:
            try:
                history = self._reader.history(entry.intent_id or "")
            except JournalDamaged:
                damaged += 1
                continue
            if history:  # one that was tidied away meanwhile has none
                traces.append(trace_of(history))
        return traces, damaged

    def _send(self, kept: Kept) -> bool:
        for _ in range(_TRIES):
            if self._sender.send(kept):
                return True
            self._tell(Progress(self._position, failing=self._sender.failing))
            if self._has_ended(_RETRY_SECONDS):
                return False
        return False

    def _has_ended(self, seconds: float) -> bool:
        """Wait so long for the daemon's end; it says nothing else any more."""
        readable, _, _ = select.select([self._link], [], [], seconds)
        return bool(readable)

    def _tell(self, progress: Progress) -> None:
        try:
            self._link.sendall(encode(progress))
        except OSError:  # the daemon has closed its end, and counts no more
            return
