"""What the journal says of entries that the log does not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from conductor_loop.core.audit.records import CLAIMS, FINALS, record_of
from conductor_loop.core.events import Noticed
from conductor_loop.core.records import Entry, Unfinished
from conductor_loop.core.security_events import AUDIT, LOST_TO, RESTORED

_AT_ONCE = 1000


class Entries(Protocol):
    """The part of `ports.Feed` that this needs."""

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `ports.Feed`."""


class Relayed(Entries, Protocol):
    """The part of `ports.Feed` that a log asks when it is opened."""

    def position(self) -> int:
        """See `ports.Feed`."""


class Open(Protocol):
    """The part of `ports.Catalog` that this needs."""

    def last_seq(self) -> int:
        """See `ports.Catalog`."""

    def unfinished(self) -> Sequence[Unfinished]:
        """See `ports.Catalog`."""


@dataclass(frozen=True, slots=True)
class Untold:
    """Why entries are not told."""

    reason: str
    """`switched_off` or `restored` when the journal itself says so, else `unexplained`."""
    lost_to: int = 0
    """See `Gap`."""


def why_untold(told: int, position: int, feed: Entries) -> Untold:
    """What the journal says of entries that it believes to be told, behind the last that is."""
    while told < position and (entries := feed.after(told, _AT_ONCE)):
        for entry in entries:
            why = _why_in(entry) if entry.seq <= position else None
            if why is not None:
                return why
        told = entries[-1].seq
    return Untold("unexplained")


def _why_in(entry: Entry) -> Untold | None:
    match entry.event:
        case Noticed(code="switched_off", subject=subject) if subject == AUDIT:
            return Untold("switched_off")
        case Noticed(code=code, details=details) if code == RESTORED:
            return Untold("restored", int(details.get(LOST_TO, "0")))
        case _:
            return None


def open_after(position: int, feed: Entries, catalog: Open) -> list[str]:
    """The intents that were open after an entry of the journal, in its order."""
    now_open = dict.fromkeys(intent.intent_id for intent in catalog.unfinished())
    later = _entries_after(position, feed)
    begun = {entry.intent_id for entry in later if record_of(entry).action in CLAIMS}
    ended = [entry.intent_id for entry in later if record_of(entry).action in FINALS]
    then_open = now_open | dict.fromkeys(intent_id for intent_id in ended if intent_id)
    return [intent_id for intent_id in then_open if intent_id not in begun]


def _entries_after(seq: int, feed: Entries) -> list[Entry]:
    found: list[Entry] = []
    while entries := feed.after(seq, _AT_ONCE):
        found += entries
        seq = entries[-1].seq
    return found
