"""What the journal says of entries that the log does not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from conductor_loop.core.audit.records import CLAIMS, FINALS, record_of
from conductor_loop.core.events import Noticed
from conductor_loop.core.records import Entry, Unfinished
from conductor_loop.core.security_events import AUDIT, LOST_TO, RESTORED, TOLD_TO

_AT_ONCE = 1000


class Entries(Protocol):
    """The part of `ports.Feed` that this needs."""

    def after(self, seq: int, limit: int) -> Sequence[Entry]:
        """See `ports.Feed`."""


class Relayed(Entries, Protocol):
    """What a log asks of the journal when it is opened."""

    def position(self) -> int:
        """See `ports.Feed`."""

    def of_service(self, seq: int, limit: int) -> Sequence[Entry]:
        """As `after`, but only entries that are about no intent."""


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
    """`switched_off` or `restored` when the journal itself says so, `begun` when there never was
    a log, else `unexplained`."""
    lost_to: int = 0
    """See `Gap`."""


def why_untold(told: int, position: int, feed: Relayed, *, is_new: bool = False) -> Untold:
    """What the journal says of entries that it believes to be told, behind the last that is.

    `is_new`: there is no log at all, which is in order when no daemon kept one. The journal's
    events tell that rather than a fact of it: they are sealed and counted, facts are not.
    """
    account = _Account(told)
    while told < position and (entries := feed.of_service(told, _AT_ONCE)):
        for entry in entries:
            if entry.seq <= position:
                account.take(entry)
        told = entries[-1].seq
    return account.reason(is_new=is_new)


class _Account:
    """Walks through what the log does not tell: the last word on it counts.

    A start with the log on takes the log up before anything is told, so entries from behind such
    a start are missing, whatever explained earlier ones. So are those that the log still told
    when it was switched off.
    """

    def __init__(self, told: int) -> None:
        self._told = told
        self._why: Untold | None = None
        self._was_on = False

    def take(self, entry: Entry) -> None:
        match entry.event:
            case Noticed(code="daemon_started"):
                self._was_on = True
            case Noticed(code="switched_off", subject=subject, details=details) if subject == AUDIT:
                self._was_on = False
                if int(details.get(TOLD_TO, "0")) > self._told:
                    self._why = Untold("unexplained")
                elif self._why is None:
                    self._why = Untold("switched_off")
            case Noticed(code=code, details=details) if code == RESTORED:
                self._was_on = False
                self._why = Untold("restored", int(details.get(LOST_TO, "0")))
            case _:
                pass

    def reason(self, *, is_new: bool) -> Untold:
        if self._was_on:
            return Untold("unexplained")
        return self._why or Untold("begun" if is_new else "unexplained")


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
