"""Following the journal: whatever has ended is sent. The journal is the queue, nothing else is."""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence

from conductor_loop.adapters.journal.reader import JournalReader
from conductor_loop.core.exporting import Progress, encode
from conductor_loop.core.records import Entry
from conductor_loop.core.states import ENDINGS
from conductor_loop.core.traces import Trace, trace_of
from conductor_loop.tracing.sending import Sender

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
        self._is_failing = False

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
        entries = self._reader.after(self._position, _BATCH)
        if not entries:
            return False
        ended = [entry for entry in entries if type(entry.event) in ENDINGS]
        is_sent = bool(ended) and not self._is_far_behind() and self._send(ended)
        self._position = entries[-1].seq
        if is_sent:
            self._tell(Progress(self._position, exported=len(ended)))
        elif ended:
            self._tell(Progress(self._position, dropped=len(ended), failing=self._sender.failing))
        return True

    def _is_far_behind(self) -> bool:
        return self._reader.last_seq() - self._position > _MOST_BEHIND

    def _send(self, ended: Sequence[Entry]) -> bool:
        traces = list(self._traces(ended))
        for _ in range(_TRIES):
            if self._sender.send(traces):
                return True
            self._tell(Progress(self._position, failing=self._sender.failing))
            if self._has_ended(_RETRY_SECONDS):
                return False
        return False

    def _traces(self, ended: Sequence[Entry]) -> Sequence[Trace]:
        histories = (self._reader.history(entry.intent_id or "") for entry in ended)
        # One that was tidied away meanwhile has none.
        return [trace_of(history) for history in histories if history]

    def _has_ended(self, seconds: float) -> bool:
        """Wait so long for the daemon's end; it says nothing else any more."""
        readable, _, _ = select.select([self._link], [], [], seconds)
        return bool(readable)

    def _tell(self, progress: Progress) -> None:
        try:
            self._link.sendall(encode(progress))
        except OSError:  # the daemon has closed its end, and counts no more
            return
