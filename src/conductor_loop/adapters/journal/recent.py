"""What was recorded last, as it was: so that nobody reads and unseals it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from conductor_loop.core.events import Admitted, Duplicated, Event, Quarantined, Receipt, Rejected
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Record

_MOST = 4_096
"""Entries kept; a relay that is further behind reads the file."""


_MOST_BODY_BYTES = 1 << 20
"""Bytes of intents kept; a lease of any other reads the file."""


class _Facts(NamedTuple):
    """What every entry of an intent says of it."""

    receipt: Receipt
    target: Target | None
    correlation_id: str = ""
    retry_of: str | None = None


class Recent:
    """A stretch of the journal without gaps, up to the newest commit, for the one who follows."""

    def __init__(self) -> None:
        self._facts: dict[str, _Facts] = {}
        self._bodies: dict[str, bytes] = {}
        self._room = _MOST_BODY_BYTES
        self._entries: deque[Entry] = deque()

    def entry(self, record: Record, seq: int, at: datetime) -> Entry | None:
        """Make the entry of a record; None when its intent came before this process."""
        event, intent_id = record.event, record.intent_id
        if intent_id is None:
            return Entry(seq, at, event)
        facts = _facts_of(event) or self._facts.get(intent_id)
        if facts is None:
            return None
        if isinstance(event, Admitted):
            self._facts[intent_id] = facts
            self._keep_body(intent_id, record.body)
        return Entry(seq, at, event, intent_id, *facts)

    def ended(self, intent_id: str) -> None:
        """Nothing more will happen to this intent."""
        self._facts.pop(intent_id, None)
        self.take_body(intent_id)

    def take_body(self, intent_id: str) -> bytes | None:
        """Give the bytes of an intent, for its first lease; None: there was no room for them."""
        body = self._bodies.pop(intent_id, None)
        if body is not None:
            self._room += len(body)
        return body

    def _keep_body(self, intent_id: str, body: bytes | None) -> None:
        if body is not None and len(body) <= self._room:
            self._bodies[intent_id] = body
            self._room -= len(body)

    def committed(self, entries: Sequence[Entry | None]) -> None:
        """They are durable, in this order, and follow all that were before."""
        for entry in entries:
            if entry is None or len(self._entries) >= _MOST:
                self._entries.clear()
            if entry is None:
                continue
            if self._entries and self._entries[-1].seq + 1 != entry.seq:
                self._entries.clear()
            self._entries.append(entry)

    def after(self, seq: int, limit: int) -> Sequence[Entry] | None:
        """The entries that follow `seq`, which is done with; None when they are not all here."""
        while self._entries and self._entries[0].seq <= seq:
            self._entries.popleft()
        if not self._entries or self._entries[0].seq != seq + 1:
            return None
        return list(islice(self._entries, limit))


def _facts_of(event: Event) -> _Facts | None:
    match event:
        case Admitted() | Rejected() | Duplicated():
            target = Target(event.namespace, event.target) if event.target else None
            retry_of = event.retry_of if isinstance(event, Admitted) else None
            return _Facts(event.receipt, target, event.correlation_id, retry_of)
        case Quarantined(receipt=receipt):
            return _Facts(receipt, None)
        case _:
            return None
