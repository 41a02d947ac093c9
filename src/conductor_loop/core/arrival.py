"""A complete file, claimed, not yet judged; and what is due to be run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from conductor_loop.core.events import Failure, Output, Receipt
from conductor_loop.core.intent import Target
from conductor_loop.core.naming import shown
from conductor_loop.core.sandbox import UNCONFINED


class Content(msgspec.Struct, frozen=True):
    """The bytes, read once. From here on they are the intent, whatever happens to the file."""

    body: bytes


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Refused from its size alone; not a byte was read."""

    limit: int


@dataclass(frozen=True, slots=True)
class HardLinked:
    """Still has another name after the extra debounce, so somebody else can change it."""

    links: int


@dataclass(frozen=True, slots=True)
class NotReadable:
    """Its mode or owner keeps the daemon's user from reading it."""

    user: str


@dataclass(frozen=True, slots=True)
class Special:
    """A symlink, FIFO, socket or device: never opened."""

    what: str


class Arrival(msgspec.Struct, frozen=True):
    """One claimed file under its id."""

    intent_id: str
    receipt: Receipt
    content: Content | TooLarge | HardLinked | NotReadable | Special


class Lease(msgspec.Struct, frozen=True):
    """One attempt that is durably started and may run now. It ends with this daemon."""

    intent_id: str
    name: bytes
    attempt: int
    target: Target
    body: bytes
    timeout: timedelta
    """The deadline of this attempt."""
    correlation_id: str = ""

    def facts(self) -> dict[str, object]:
        """What every log line about this attempt carries, as `extra=`."""
        return {
            "intent.id": self.intent_id,
            "intent.file": shown(self.name),
            "correlation_id": self.correlation_id,
            "attempt": self.attempt,
        }


class Delivered(msgspec.Struct, frozen=True):
    """The publisher did what was asked; its output still has to be synced."""

    worker: int
    started_at: datetime
    duration: timedelta
    outputs: tuple[Output, ...] | None = None
    outputs_unknown: str = ""
    notes: tuple[str, ...] = ()
    porch_sha256: str = ""
    """SHA-256, in hex, of the program that ran; empty for none."""
    sandbox: str = UNCONFINED
    """The layer of confinement that it ran under."""


class Undelivered(msgspec.Struct, frozen=True):
    """The publisher could not, or ran out of time; expected, so a value."""

    worker: int
    started_at: datetime
    duration: timedelta
    failure: Failure
    porch_sha256: str = ""
    sandbox: str = UNCONFINED
    """As in `Delivered`."""


class Abandoned(msgspec.Struct, frozen=True):
    """Stopped by us, or vanished with its supervisor; it says nothing of the intent."""

    cause: str
    """As in `HandedBack.cause`."""


Outcome = Delivered | Undelivered | Abandoned
