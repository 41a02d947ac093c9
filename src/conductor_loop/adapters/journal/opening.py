"""How rows become what the rest of the program knows: opened, checked for their place, decoded."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import apsw
import msgspec

from conductor_loop.adapters.journal.database import from_microseconds
from conductor_loop.adapters.journal.sealing import (
    Facts,
    Sealer,
    body_place,
    damaged,
    decode_facts,
    event_place,
    facts_place,
    keyed_place,
    parked_place,
)
from conductor_loop.core.events import Event, Receipt, decode
from conductor_loop.core.faults import JournalDamaged
from conductor_loop.core.intent import Target
from conductor_loop.core.records import Entry, Known, Pause, Summary, Unfinished
from conductor_loop.core.states import State

# The relay asks for every event of an intent within a moment: its facts are opened once.
_MOST_REMEMBERED = 512
_UNREADABLE = Facts(b"(damaged)", "", "", "", "", "")
_pause_decoder = msgspec.json.Decoder(tuple[str, str, str])

Row: TypeAlias = tuple[Any, ...]
"""What SQLite returned; the tables are STRICT, so each column's type holds."""


@dataclass(frozen=True, slots=True)
class Damage:
    """An intent, or a notice of the service, that was set aside."""

    seq: int
    intent_id: str | None
    why: str
    at: int
    """When, in microseconds since 1970."""

    @property
    def name(self) -> str:
        """What an operator calls it: an intent by its id, an entry by its number."""
        return self.intent_id or entry_name(self.seq)


def entry_name(seq: int) -> str:
    """What an operator calls an entry that is of no intent."""
    return f"entry-{seq}"


class Opener:
    """Opens what a journal holds. Every method raises JournalDamaged for what was altered."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer
        self._remembered: dict[tuple[int, bytes], Facts] = {}

    def facts(self, seq: int, intent_id: str, stored: bytes) -> Facts:
        """The private facts of an intent."""
        known = self._remembered.get((seq, stored))
        if known is not None:
            return known
        try:
            facts = decode_facts(self.sealer.open(facts_place(seq, intent_id), stored))
        except msgspec.MsgspecError as error:
            raise damaged(str(error)) from error
        if len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[seq, stored] = facts
        return facts

    def event(self, seq: int, intent: int | None, at: int, stored: bytes) -> Event:
        """What happened."""
        try:
            return decode(self.sealer.open(event_place(seq, intent, at), stored))
        except msgspec.MsgspecError as error:
            raise damaged(f"event {seq} is none that this version knows: {error}") from error

    def body(self, intent_id: str, stored: bytes) -> bytes:
        """The bytes of an intent."""
        return self.sealer.open(body_place(intent_id), stored)

    def parked(self, seq: int, stored: bytes) -> str:
        """Why an entry was set aside."""
        return self.sealer.open(parked_place(seq), stored).decode()

    def pause(self, row: Row) -> Pause:
        """One row of `pauses`; one that cannot be opened pauses everything, to be safe."""
        key, stored, at = row
        moment = from_microseconds(at)
        try:
            told = self.sealer.open(keyed_place(b"pauses.pause", key), stored)
            return Pause(*_pause_decoder.decode(told), moment)
        except (JournalDamaged, msgspec.MsgspecError):
            return Pause("", "journal", "a pause that cannot be read any more", moment)

    def imported(self, row: Row) -> tuple[bytes, str, datetime]:
        """Name, digest and moment of a file that the original had processed."""
        key, stored, at = row
        try:
            told = self.sealer.open(keyed_place(b"imported.file", key), stored)
            name, digest = msgspec.msgpack.decode(told, type=tuple[bytes, str])
        except msgspec.MsgspecError as error:
            raise damaged(str(error)) from error
        return name, digest, from_microseconds(at)

    def entry(self, row: Row) -> Entry:
        """One event, with the facts of its intent."""
        seq, at, event, intent, intent_id, stored, received_at, size, retry_of = row
        opened = self.event(seq, intent, at, event)
        if intent_id is None:
            return Entry(seq=seq, at=from_microseconds(at), event=opened)
        facts = self.facts(intent, intent_id, stored)
        moment = from_microseconds(received_at)
        return Entry(
            seq=seq,
            at=from_microseconds(at),
            event=opened,
            intent_id=intent_id,
            receipt=Receipt(facts.name, moment, size, facts.digest, facts.submitted_by),
            target=Target(facts.namespace, facts.target) if facts.target else None,
            correlation_id=facts.correlation_id,
            retry_of=retry_of,
        )

    def known(self, row: Row) -> Known:
        """The newest admitted intent of a target."""
        seq, intent_id, stored, state, filed = row
        facts = self.facts(seq, intent_id, stored)
        return Known(intent_id, facts.name, facts.digest, State(state), filed == "gone", seq)

    def unfinished(self, row: Row) -> Unfinished:
        """One intent that has no final state."""
        (intent_id, seq, stored, priority, received_at, state, runs, failures, crashes, timeout,
         not_before, size) = row  # fmt: skip
        facts = self.facts(seq, intent_id, stored)
        return Unfinished(
            intent_id=intent_id,
            seq=seq,
            name=facts.name,
            target=Target(facts.namespace, facts.target),
            priority=priority,
            received_at=from_microseconds(received_at),
            state=State(state),
            runs=runs,
            failures=failures,
            crashes=crashes,
            timeout=None if timeout is None else timedelta(microseconds=timeout),
            not_before=_moment(not_before),
            correlation_id=facts.correlation_id,
            size=size,
        )

    def summary(self, row: Row) -> Summary:
        """One intent as listings show it; one that cannot be opened is shown as `(damaged)`."""
        (intent_id, seq, stored, size, priority, state, received_at, final_at, runs, failures,
         crashes, not_before, retry_of, filed, is_aside) = row  # fmt: skip
        try:
            facts = self.facts(seq, intent_id, stored)
        except JournalDamaged:
            facts = _UNREADABLE
        return Summary(
            intent_id=intent_id,
            seq=seq,
            name=facts.name,
            digest=facts.digest,
            size=size,
            target=Target(facts.namespace, facts.target),
            priority=priority,
            state=State(state),
            received_at=from_microseconds(received_at),
            final_at=_moment(final_at),
            runs=runs,
            failures=failures,
            crashes=crashes,
            not_before=_moment(not_before),
            correlation_id=facts.correlation_id,
            submitted_by=facts.submitted_by,
            retry_of=retry_of,
            filed=filed,
            is_aside=bool(is_aside),
        )


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


UNREADABLE = (apsw.CorruptError, apsw.NotADBError, apsw.IOError)
"""What SQLite raises for a file that was whole when it was opened."""


def unreadable(error: apsw.Error) -> JournalDamaged:
    """What SQLite says of a file that it cannot read any more, as an operator should hear it."""
    return JournalDamaged(
        f"the journal cannot be read: {error}",
        hint="check the disk (dmesg); then restore a backup, or: conductor-loop state rebuild",
    )
