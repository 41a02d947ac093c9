"""What the journal says: what goes in, what comes out, and what is known of an intent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from conductor_loop.core.events import Admitted, Event, Receipt
from conductor_loop.core.intent import Target
from conductor_loop.core.naming import shown
from conductor_loop.core.states import State


class Record(msgspec.Struct, frozen=True):
    """One thing to journal: an event, and the bytes that came with an admitted intent."""

    intent_id: str | None
    """None for events of the service as a whole."""
    event: Event
    body: bytes | None = None


class Pause(msgspec.Struct, frozen=True):
    """A pause in force; `target` is empty for everything."""

    target: str
    by: str
    why: str
    at: datetime


class Entry(msgspec.Struct, frozen=True):
    """One journalled event, with the facts of its intent that every view needs."""

    seq: int
    at: datetime
    event: Event
    intent_id: str | None = None
    receipt: Receipt | None = None
    target: Target | None = None
    correlation_id: str = ""
    retry_of: str | None = None

    def facts(self) -> dict[str, object]:
        """What every log line about this entry carries, as `extra=`."""
        return {
            "journal.seq": self.seq,
            "intent.id": self.intent_id,
            "intent.file": shown(self.receipt.name) if self.receipt else None,
            "intent.target": self.target,
            "correlation_id": self.correlation_id,
        }


class Unfinished(msgspec.Struct, frozen=True):
    """What must be known of an intent to put it in order; its bytes stay in the journal."""

    intent_id: str
    seq: int
    """Journal order: the order within a target."""
    name: bytes
    target: Target
    priority: int
    received_at: datetime
    state: State
    runs: int = 0
    """Attempts started; the next one's number is one more."""
    failures: int = 0
    """Attempts that count against the intent."""
    crashes: int = 0
    """Attempts during which the daemon or its spawner died."""
    timeout: timedelta | None = None
    not_before: datetime | None = None
    correlation_id: str = ""
    size: int = 0
    """Bytes of the intent as it was handed over."""

    @property
    def runs_alone(self) -> bool:
        """Whether nothing else may run beside it, so that a crash is blamed on who brings it about.

        From the second one on: the first is as often the machine's, and then all in flight saw it.
        """
        return self.crashes > 1


class Known(msgspec.Struct, frozen=True):
    """The newest admitted intent of a target, as `admit` needs it."""

    intent_id: str
    name: bytes
    digest: str
    state: State
    is_gone: bool = False
    """Its retention is over, and no verdict of it is left to point to."""
    seq: int = 0
    """Journal order; 0: not in the journal yet."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One intent as listings show it."""

    intent_id: str
    seq: int
    name: bytes
    digest: str
    size: int
    target: Target
    priority: int
    state: State
    received_at: datetime
    final_at: datetime | None
    runs: int
    failures: int
    crashes: int
    not_before: datetime | None
    correlation_id: str
    submitted_by: str
    retry_of: str | None
    filed: str | None
    is_aside: bool = False
    """Whether it was set aside as damaged, and is not run."""


def waiting_intent(intent_id: str, event: Admitted, seq: int) -> Unfinished:
    """What an admission makes of an intent."""
    return Unfinished(
        intent_id=intent_id,
        seq=seq,
        name=event.receipt.name,
        target=Target(event.namespace, event.target),
        priority=event.priority,
        received_at=event.receipt.received_at,
        state=State.WAITING,
        timeout=event.timeout,
        correlation_id=event.correlation_id,
        size=event.receipt.size,
    )
