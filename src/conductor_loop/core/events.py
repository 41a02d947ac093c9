"""What can happen to an intent, in the past tense. The journal holds these and nothing else.

Each event is versioned by its tag: a changed meaning is a new tag, an added field has a default.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from conductor_loop.core.faults import Fault
from conductor_loop.core.security_events import Severity


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was handed over: the facts of the file at the moment of the claim."""

    name: bytes
    received_at: datetime
    size: int = 0
    digest: str = ""
    """SHA-256 of the bytes, in hex; empty when they were never read."""
    submitted_by: str = ""
    """Owner of the file when claimed: a user name, or `uid:N`."""


class FailureKind(StrEnum):
    """Whose fault a failed attempt is, which decides what happens next."""

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    ENVIRONMENT = "environment"


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why an attempt brought no package, in words for an operator and codes for a script."""

    kind: FailureKind
    code: str
    message: str
    hint: str = ""
    exit_code: int | None = None
    signal: int | None = None
    stdout: str = ""
    stderr: str = ""


class Output(msgspec.Struct, frozen=True):
    """One file that was written, relative to OUT, and the SHA-256 of its bytes in hex."""

    path: str
    sha256: str


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt as it went: when, where and for how long."""

    attempt: int
    worker: int
    started_at: datetime
    duration: timedelta
    porch_sha256: str = ""
    sandbox: str = "none"


class SkipReason(StrEnum):
    """Why an intent ended without being run to its end."""

    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    pass


class Admitted(_Event, frozen=True):
    """Checked and taken: it will run."""

    receipt: Receipt
    namespace: str
    target: str
    priority: int
    correlation_id: str = ""
    timeout: timedelta | None = None
    retry_of: str | None = None
    retried_by: str = ""
    retry_why: str = ""


class Rejected(_Event, frozen=True):
    """Checked and refused: it will never run. Namespace and target as far as they were legible."""

    receipt: Receipt
    faults: tuple[Fault, ...]
    namespace: str = ""
    target: str = ""
    correlation_id: str = ""


class Quarantined(_Event, frozen=True):
    """Not a regular file: never opened, set aside."""

    receipt: Receipt
    fault: Fault


class Duplicated(_Event, frozen=True):
    """The newest admitted intent of the target is this very file, unfinished or succeeded."""

    receipt: Receipt
    namespace: str
    target: str
    first: str
    """The id of that intent; for work of the original program, `imported`."""
    correlation_id: str = ""


class Started(_Event, frozen=True):
    """Durable before the publisher runs; an attempt may still be handed back without having run."""

    attempt: int


class Published(_Event, frozen=True):
    """The publisher delivered, and what it wrote would survive a power cut."""

    run: Run
    outputs: tuple[Output, ...] | None = None
    outputs_unknown: str = ""
    """Why `outputs` is None."""
    notes: tuple[str, ...] = ()
    """What an operator should know although it succeeded, e.g. that a hand edit was replaced."""


class RetryScheduled(_Event, frozen=True):
    """The attempt failed, counted, and another follows not before a moment."""

    run: Run
    failure: Failure
    not_before: datetime


CRASHES = frozenset({"daemon_ended", "spawner_ended"})
"""Causes for which an attempt is handed back that are a crash: the daemon died, or its spawner."""


class HandedBack(_Event, frozen=True):
    """The attempt ended without counting: the environment failed, or what ran it died."""

    attempt: int
    cause: str
    """`not_run`, `shutdown`, `environment`, `paused`, or one of CRASHES."""
    failure: Failure | None = None
    not_before: datetime | None = None

    @property
    def is_crash(self) -> bool:
        """Whether what ran the attempt died."""
        return self.cause in CRASHES


class Failed(_Event, frozen=True):
    """Given up; a final state. `run` is None when no attempt was left to make."""

    failure: Failure
    run: Run | None = None


class TimedOut(_Event, frozen=True):
    """Given up because the last attempt passed its deadline; a final state."""

    run: Run
    failure: Failure


class Skipped(_Event, frozen=True):
    """Ended without a result, on purpose; a final state."""

    reason: SkipReason
    by: str = ""
    why: str = ""
    superseded_by: str | None = None


IntentEvent = (
    Admitted
    | Rejected
    | Quarantined
    | Duplicated
    | Started
    | Published
    | RetryScheduled
    | HandedBack
    | Failed
    | TimedOut
    | Skipped
)


class Paused(_Event, frozen=True):
    """An operator stopped new attempts, of everything (`target` empty) or of one target."""

    by: str
    why: str = ""
    target: str = ""


class Resumed(_Event, frozen=True):
    """An operator lifted a pause."""

    by: str
    why: str = ""
    target: str = ""


class BreakerOpened(_Event, frozen=True):
    """The environment failed, not the intents: attempts wait, nothing is counted."""

    failure: Failure


class BreakerClosed(_Event, frozen=True):
    """An attempt got an answer from the publisher again."""

    after: timedelta


class Noticed(_Event, frozen=True):
    """Something that a guard would want to know; codes stand in `core.security_events`."""

    code: str
    severity: Severity
    subject: str = ""
    """What it is about: a path, a program, a setting."""
    details: dict[str, str] = {}
    by: str = ""
    """Who caused it, where that is known."""


class Tidied(_Event, frozen=True):
    """The retention of these intents is over: whatever is left of them is about to be removed.

    The journal keeps the ids only until every view has applied it.
    """

    intent_ids: tuple[str, ...]


ServiceEvent = Paused | Resumed | BreakerOpened | BreakerClosed | Noticed | Tidied
Event = IntentEvent | ServiceEvent

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Write an event as tagged JSON."""
    return _encoder.encode(event)


def decode(data: bytes) -> Event:
    """Read an event back; raises msgspec.ValidationError for one this version does not know."""
    return _decoder.decode(data)
